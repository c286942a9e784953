import { createHash } from 'node:crypto';
import type { CompiledConfig } from '../config/compile.ts';
import { suggest } from '../config/problems.ts';
import { TollgateError } from '../core/errors.ts';
import { oneLine } from '../core/plain-text.ts';
import type { DefinitionDifference, DefinitionView } from '../pipeline/trust.ts';
import { askYes, loadForCommand } from './configuration.ts';
import { json, out } from './output.ts';
import { control } from './running.ts';

interface Options {
  readonly config?: string;
  readonly json?: boolean;
}

/** `tollgate trust list [SERVER]`: what servers offer, and what of it was approved. */
export async function listTrust([server]: readonly (string | undefined)[], options: Options): Promise<void> {
  const { dataDir, compiled } = await loadForCommand(options.config, { unapproved: true });
  if (server !== undefined) knownServer(compiled, server);
  const query = server === undefined ? '' : `?${new URLSearchParams({ server })}`;
  const answer = (await (await control(dataDir, `/trust${query}`)).json()) as { definitions: DefinitionView[] };
  if (options.json === true) {
    json(answer);
    return;
  }
  const { definitions } = answer;
  out(definitions.length === 0 ? 'No server offers anything.' : definitions.map(line).join('\n'));
  const open = definitions.filter(({ state }) => state !== 'approved');
  const servers = [...new Set(open.map((one) => one.server))];
  for (const name of servers) out(`See what differs: tollgate trust diff ${name}`);
}

/** `tollgate trust diff SERVER[/NAME]`: what nobody has approved, member by member, and the digest to approve it by. */
export async function diffTrust([what]: readonly (string | undefined)[], options: Options): Promise<void> {
  const { dataDir, compiled } = await loadForCommand(options.config, { unapproved: true });
  const definitions = await differences(dataDir, compiled, what!);
  if (options.json === true) json({ definitions });
  else
    out(
      definitions.length === 0 ? `Nothing that ${oneLine(what!)} offers waits for approval.` : described(definitions),
    );
  const open = definitions.filter(({ state }) => state !== 'approved');
  if (open.length > 0 && options.json !== true) {
    out(`\nTo approve exactly this: tollgate trust approve ${oneLine(what!)} --digest ${digestOf(open)}`);
  }
}

/** `tollgate trust approve SERVER[/NAME]`: by the digest that `diff` showed, or after it was shown here and confirmed. */
export async function approveTrust(
  [what]: readonly (string | undefined)[],
  options: Options & { readonly digest?: string; readonly yes?: boolean },
): Promise<void> {
  const { dataDir, compiled } = await loadForCommand(options.config, { unapproved: true });
  const open = (await differences(dataDir, compiled, what!)).filter(({ state }) => state !== 'approved');
  if (open.length === 0) {
    if (options.json === true) json({ approved: [] });
    else out(`Nothing to approve: nothing that ${oneLine(what!)} offers waits for it.`);
    return;
  }
  const digest = digestOf(open);
  if (options.digest === undefined) {
    if (options.json !== true) out(described(open));
    if (options.yes !== true && !(await confirmed(open.length))) {
      throw new TollgateError(
        'usage',
        `Nothing was approved. Say that this is meant: --digest ${digest}, or --yes for whatever is offered.`,
      );
    }
  } else if (options.digest.replace(/^sha256:/, '') !== digest) {
    throw new TollgateError(
      'usage',
      `Nothing was approved: ${oneLine(what!)} offers something else now. Look again with: tollgate trust diff ${oneLine(what!)}`,
    );
  }
  // The digests that were shown, never "what is there now".
  const definitions = open.map(({ server, kind, name, digest: each }) => ({ server, kind, name, digest: each }));
  await control(dataDir, '/trust/approve', { method: 'POST', body: JSON.stringify({ definitions }) });
  if (options.json === true) json({ approved: definitions });
  else out(definitions.map(({ server, kind, name }) => `Approved the ${kind} ${server}/${oneLine(name)}.`).join('\n'));
}

async function differences(dataDir: string, compiled: CompiledConfig, what: string): Promise<DefinitionDifference[]> {
  const slash = what.indexOf('/');
  const server = slash < 0 ? what : what.slice(0, slash);
  const name = slash < 0 ? undefined : what.slice(slash + 1);
  knownServer(compiled, server);
  const query = new URLSearchParams({ server, ...(name === undefined ? {} : { name }) });
  const answer = (await (await control(dataDir, `/trust/diff?${query}`)).json()) as {
    definitions: DefinitionDifference[];
  };
  if (answer.definitions.length === 0 && name !== undefined) {
    throw new TollgateError('usage', `${oneLine(server)} offers nothing of the name ${oneLine(name)}.`);
  }
  return answer.definitions;
}

/** Of a server that does not exist nothing is open, which must not read like an approval. */
function knownServer({ servers }: CompiledConfig, name: string): void {
  const known = servers.map((server) => server.name);
  if (known.includes(name)) return;
  throw new TollgateError('usage', `There is no server "${oneLine(name)}". ${suggest(name, known)}`);
}

/** Of one definition its own digest; of several one over all of them, so that it names exactly this set. */
function digestOf(definitions: readonly DefinitionView[]): string {
  const [only] = definitions;
  if (definitions.length === 1 && only !== undefined) return only.digest;
  const parts = definitions.map(({ server, kind, name, digest }) => [server, kind, name, digest]);
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}

async function confirmed(count: number): Promise<boolean> {
  if (process.stdin.isTTY !== true || process.stderr.isTTY !== true) return false;
  return askYes(`Approve ${count === 1 ? 'it' : `these ${count}`}?`);
}

function described(definitions: readonly DefinitionDifference[]): string {
  return definitions
    .map((one) => [line(one), ...one.lines.map((text) => `    ${oneLine(text)}`)].join('\n'))
    .join('\n');
}

function line({ server, kind, name, digest, state, blocked, approved }: DefinitionView): string {
  const now =
    state === 'approved' ? `approved by ${oneLine(approved?.by ?? '')}` : blocked ? `${state}, blocked` : state;
  return `${server}/${oneLine(name)}  ${kind}  ${now}  sha256:${digest.slice(0, 16)}`;
}
