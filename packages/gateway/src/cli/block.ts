import { canonicalWho } from '../access/blocks.ts';
import { TollgateError } from '../core/errors.ts';
import type { Block } from '../core/operator-records.ts';
import type { Doubted } from '../pipeline/gateway-administration.ts';
import { loadForCommand } from './configuration.ts';
import { err, json, out } from './output.ts';
import { control } from './running.ts';

interface BlockOptions {
  readonly config?: string;
  readonly for?: string;
  readonly reason?: string;
  readonly json?: boolean;
}

/** `tollgate block WHO`: nobody lets them in until `--for` is over or they are unblocked; without WHO, who is. */
export async function block([who]: readonly (string | undefined)[], options: BlockOptions): Promise<void> {
  const { dataDir } = await loadForCommand(options.config, { unapproved: true });
  if (who === undefined) {
    const blocks = await blocksOf(dataDir);
    if (options.json === true) json({ blocks });
    else out(blocks.length === 0 ? 'Nobody is blocked.' : blockLines(blocks));
    return;
  }
  const body = JSON.stringify({ who, until: options.for, reason: options.reason });
  const made = (await (await control(dataDir, '/blocks', { method: 'POST', body })).json()) as Block & Doubted;
  if (made.warning !== undefined) err(`Warning: ${made.warning}`);
  if (options.json === true) json(made);
  else out(`Blocked ${made.who}${endOf(made)}. End it with: tollgate unblock ${made.who}`);
}

/** `tollgate unblock WHO`: ends every block of exactly this WHO. */
export async function unblock([who]: readonly (string | undefined)[], options: BlockOptions): Promise<void> {
  const { dataDir } = await loadForCommand(options.config, { unapproved: true });
  if (who === undefined) throw new TollgateError('usage', 'Say whom: tollgate unblock corp/ada.');
  const blocks = await blocksOf(dataDir);
  const chosen = blocks.filter((candidate) => candidate.who === canonicalWho(who));
  for (const { id } of chosen) await control(dataDir, `/blocks/${encodeURIComponent(id)}`, { method: 'DELETE' });
  if (options.json === true) json({ unblocked: chosen });
  else if (chosen.length > 0) out(`Unblocked ${who}.`);
  else out(blocks.length === 0 ? 'Nobody is blocked.' : `Not blocked. In force:\n${blockLines(blocks)}`);
}

/** Who is blocked, a line each: by whom, since when, until when, why. */
export function blockLines(blocks: readonly Block[]): string {
  return blocks
    .map((one) => `  ${one.who}, by ${one.by} since ${new Date(one.at).toISOString()}${endOf(one)}: ${one.reason}`)
    .join('\n');
}

async function blocksOf(dataDir: string): Promise<readonly Block[]> {
  const { blocks } = (await (await control(dataDir, '/blocks')).json()) as { readonly blocks: readonly Block[] };
  return blocks;
}

function endOf({ until }: Block): string {
  return until === undefined ? '' : ` until ${new Date(until).toISOString()}`;
}
