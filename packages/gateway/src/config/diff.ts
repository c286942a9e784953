import { isDeepStrictEqual } from 'node:util';
import type { LoadedConfig } from './assemble.ts';
import { compile } from './compile.ts';
import { effectiveConfig } from './effective.ts';
import { type CountedLimit, countedLimits, forgottenUse } from './forgotten.ts';
import { formatLeaf, type Leaf, leavesOf } from './leaves.ts';
import { formatPath } from './problems.ts';
import { showLeaf } from './redact.ts';

/** One difference between two configurations. */
export interface ConfigChange {
  /** In words, without secrets. */
  readonly text: string;
  /** A running gateway cannot apply it. */
  readonly needsRestart: boolean;
}

const ENTRIES = new Set(['servers', 'endpoints', 'tools', 'limits', 'tiers']);
const FIXED = new Set(['listen', 'admin', 'dataDir', 'storage', 'state', 'vault']);
const NOUNS: Readonly<Record<string, string>> = {
  servers: 'server',
  endpoints: 'endpoint',
  tools: 'tools',
  limits: 'limit',
  tiers: 'tier',
};

/** What changes from one configuration to another, in the order of the reference page; empty when nothing does. */
export function diffConfigs(before: LoadedConfig, after: LoadedConfig): ConfigChange[] {
  const old = effectiveConfig(before.config, compile(before.config)) as Record<string, unknown>;
  const now = effectiveConfig(after.config, compile(after.config)) as Record<string, unknown>;
  const changes: ConfigChange[] = [];
  for (const key of new Set([...Object.keys(old), ...Object.keys(now)])) {
    if (isDeepStrictEqual(old[key], now[key])) {
      if (ENTRIES.has(key) && !sameOrder(old[key], now[key])) changes.push(change(key, 'the order has changed'));
      continue;
    }
    if (ENTRIES.has(key)) changes.push(...entryChanges(key, before, after, old[key], now[key]));
    else if (key === 'routes' || key === 'auth' || key === 'access' || key === 'webhooks')
      changes.push(change(key, listChange(old[key], now[key])));
    else changes.push(...valueChanges(pick(old, key), pick(now, key), before, after));
  }
  return changes;
}

/** The same as sentences, for logs and answers; what a running gateway cannot apply says so. */
export function describeChanges(before: LoadedConfig, after: LoadedConfig): string[] {
  return diffConfigs(before, after).map(({ text, needsRestart }) =>
    needsRestart ? `${text} (takes a restart)` : text,
  );
}

/** What applying a configuration did, as the answer of a reload. */
export interface AppliedChanges {
  readonly changes: readonly string[];
  /** What it took away that nobody may have meant. Empty mostly. */
  readonly warnings: readonly string[];
}

export function appliedChanges(before: LoadedConfig, after: LoadedConfig): AppliedChanges {
  return {
    changes: describeChanges(before, after),
    warnings: forgottenUse(countedOf(before), countedOf(after)),
  };
}

function countedOf({ config }: LoadedConfig): CountedLimit[] {
  return countedLimits(compile(config).admission);
}

function change(key: string, what: string): ConfigChange {
  return { text: `${key}: ${what}`, needsRestart: FIXED.has(key) };
}

function pick(config: Record<string, unknown>, key: string): Record<string, unknown> {
  return { [key]: config[key] };
}

function sameOrder(a: unknown, b: unknown): boolean {
  return isDeepStrictEqual(Object.keys(a ?? {}), Object.keys(b ?? {}));
}

function entryChanges(
  section: string,
  before: LoadedConfig,
  after: LoadedConfig,
  a: unknown,
  b: unknown,
): ConfigChange[] {
  const old = a as Record<string, unknown>;
  const now = b as Record<string, unknown>;
  const noun = NOUNS[section]!;
  const changes: ConfigChange[] = [];
  for (const name of Object.keys(old)) if (!(name in now)) changes.push(change(`${noun} ${name}`, 'removed'));
  for (const name of Object.keys(now)) {
    if (!(name in old)) changes.push(change(`${noun} ${name}`, 'added'));
    else if (!isDeepStrictEqual(old[name], now[name])) {
      changes.push(
        ...valueChanges({ [section]: { [name]: old[name] } }, { [section]: { [name]: now[name] } }, before, after),
      );
    }
  }
  const kept = (config: object, other: object) => Object.keys(config).filter((name) => name in other);
  if (!isDeepStrictEqual(kept(old, now), kept(now, old))) changes.push(change(section, 'the order has changed'));
  return changes;
}

function listChange(a: unknown, b: unknown): string {
  const [old, now] = [a as readonly unknown[], b as readonly unknown[]];
  const entries = (count: number) => `${count} ${count === 1 ? 'entry' : 'entries'}`;
  return old.length === now.length
    ? `changed (${entries(now.length)})`
    : `${entries(old.length)} → ${entries(now.length)}`;
}

function valueChanges(old: unknown, now: unknown, before: LoadedConfig, after: LoadedConfig): ConfigChange[] {
  const was = new Map(leavesOf(old).map((leaf) => [formatPath(leaf.path), leaf]));
  const is = new Map(leavesOf(now).map((leaf) => [formatPath(leaf.path), leaf]));
  const changes: ConfigChange[] = [];
  for (const key of new Set([...was.keys(), ...is.keys()])) {
    const [a, b] = [was.get(key), is.get(key)];
    if (isDeepStrictEqual(a?.value, b?.value)) continue;
    const path = (a ?? b)!.path;
    const from = show(a, before);
    const to = show(b, after);
    // The same reference with another value behind it, or two secrets: only the fact can be told.
    const what = from === to ? 'the value has changed' : `${from} → ${to}`;
    changes.push({ text: `${key}: ${what}`, needsRestart: FIXED.has(String(path[0])) });
  }
  return changes;
}

function show(leaf: Leaf | undefined, loaded: LoadedConfig): string {
  return leaf === undefined ? '(absent)' : formatLeaf({ value: showLeaf(leaf, loaded.source), unit: undefined });
}
