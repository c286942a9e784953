/** What limits do when they are reached, and how they name each other. */
import type { Checks, ParsedConfig } from './check.ts';
import { isAmount, leadingQuota, rowsOf } from './limit-rows.ts';
import { type KeyPath, mistake, suggest } from './problems.ts';
import { asList } from './values.ts';

type Limit = ParsedConfig['limits'][string];

const MAX_WAIT_MS = 30_000;

export function checkBehaviour(checks: Checks, name: string, limit: Limit): void {
  const path: KeyPath = ['limits', name];
  const quota = leadingQuota(limit, rowsOf(checks.config.tiers, name));
  const refuse = (key: string, what: string, fix: string) =>
    void checks.findings.push(mistake([...path, key], what, fix));
  checkLadder(checks, limit, path);
  if (limit.mode === 'shadow') {
    const idle = (['then', 'latch', 'replaces'] as const).find(
      (key) => limit[key] !== undefined && limit[key] !== false,
    );
    if (idle === 'replaces') {
      refuse(idle, 'A shadow limit refuses nothing, so what it replaces would be without a limit.', 'Remove one.');
    } else if (idle !== undefined) {
      refuse(idle, `A shadow limit refuses nothing, so \`${idle}\` has no meaning.`, 'Remove one.');
    }
  }
  if (new Set(limit.alerts).size !== limit.alerts.length) refuse('alerts', 'A share stands here twice.', 'Remove one.');
  if (quota === undefined) return;
  if (isAmount(quota) && limit.onError !== undefined && limit.onError !== 'closed') {
    const what = 'A limit on an amount is always closed: what cannot be counted cannot be spent.';
    refuse('onError', what, 'Remove the key.');
  }
  const waits = asList(limit.then)?.some((rung) => rung.kind === 'wait') === true;
  if (waits && (quota.kind === 'per-call' || quota.kind === 'total')) {
    refuse('then', 'Waiting brings nothing back here.', 'Remove the key.');
  } else if (waits && limit.latch) refuse('then', 'What latches does not come back by waiting.', 'Remove one of them.');
  if (limit.latch && (quota.kind === 'per-call' || quota.kind === 'concurrency')) {
    refuse('latch', 'A latch needs something that is used up.', 'Remove the key.');
  }
  if (limit.alerts.length > 0 && quota.kind === 'per-call') {
    refuse('alerts', 'A limit on single calls is not used up, so no share of it is reached.', 'Remove the key.');
  }
}

function checkLadder(checks: Checks, limit: Limit, path: KeyPath): void {
  const steps = asList(limit.then);
  if (steps === undefined) return;
  const at = [...path, 'then'];
  const refuse = (what: string, fix: string) => void checks.findings.push(mistake(at, what, fix));
  if (steps.length === 0) refuse('An empty list says nothing.', 'Write refuse.');
  const end = steps.findIndex((step) => step.kind === 'refuse');
  if (end >= 0 && end < steps.length - 1) refuse('Nothing comes after `refuse`.', 'Put it last.');
  const total = steps.reduce((sum, step) => sum + (step.kind === 'wait' ? step.ms : 0), 0);
  if (total > MAX_WAIT_MS) refuse('The waits are longer than 30s together.', 'Shorten them.');
}

/** `replaces` and `was`: names that exist, or that do not exist any more. */
export function checkReplacements(checks: Checks): void {
  const { config, findings } = checks;
  const names = Object.keys(config.limits);
  const exists = (name: string) => Object.hasOwn(config.limits, name) || checks.isDamaged('limits', name);
  const check = (replaces: string | readonly string[], path: KeyPath, own: string | undefined) => {
    const listed = asList(replaces)!;
    if (listed.length === 0) findings.push(mistake(path, 'An empty list replaces nothing.', 'Remove the key.'));
    listed.forEach((name, i) => {
      const at = Array.isArray(replaces) ? [...path, i] : path;
      if (name === own) findings.push(mistake(at, 'A limit cannot replace itself.', 'Remove the name.'));
      else if (!exists(name)) findings.push(mistake(at, `There is no limit "${name}".`, suggest(name, names)));
      else if (listed.indexOf(name) < i) findings.push(mistake(at, `"${name}" stands here twice.`, 'Remove one.'));
    });
  };
  const heirs = new Map<string, string>();
  for (const [name, { replaces, was }] of Object.entries(config.limits)) {
    const path: KeyPath = ['limits', name];
    if (replaces !== undefined) check(replaces, [...path, 'replaces'], name);
    if (was === undefined) continue;
    if (exists(was)) {
      const what = was === name ? 'This is its name already.' : `There is still a limit "${was}".`;
      findings.push(mistake([...path, 'was'], what, 'Remove the key.'));
    }
    const heir = heirs.get(was);
    if (heir !== undefined) {
      const what = `"${heir}" continues what was used under "${was}" already.`;
      findings.push(mistake([...path, 'was'], what, 'Remove one.'));
    }
    heirs.set(was, name);
  }
  config.routes.forEach(({ limit }, i) => {
    if (limit === undefined || 'kind' in limit || limit.replaces === undefined) return;
    check(limit.replaces, ['routes', i, 'limit', 'replaces'], undefined);
  });
  const loop = findLoop(config.limits);
  if (loop !== undefined) {
    const what = `${loop.join(' replaces ')}: none of them would count.`;
    findings.push(mistake(['limits', loop[0]!, 'replaces'], what, 'Remove one.'));
  }
}

/** A chain of replacements that comes back to where it began, or undefined. */
function findLoop(limits: ParsedConfig['limits']): string[] | undefined {
  const done = new Set<string>();
  for (const start of Object.keys(limits)) {
    // A stack of its own: chains may be as long as the list of limits.
    const trail: { readonly name: string; next: number }[] = [{ name: start, next: 0 }];
    while (trail.length > 0) {
      const top = trail.at(-1)!;
      const below = done.has(top.name) ? undefined : asList(limits[top.name]?.replaces)?.[top.next++];
      if (below === undefined) {
        done.add(top.name);
        trail.pop();
        continue;
      }
      if (below === top.name) continue;
      const at = trail.findIndex(({ name }) => name === below);
      if (at >= 0) return [...trail.slice(at).map(({ name }) => name), below];
      trail.push({ name: below, next: 0 });
    }
  }
  return undefined;
}
