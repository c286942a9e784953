import { TollgateError } from '../core/errors.ts';
import { keyId } from '../identity/key-format.ts';
import type { KeyInfo } from '../pipeline/key-book.ts';
import { loadForCommand } from './configuration.ts';
import { json, out } from './output.ts';
import { control } from './running.ts';

interface Options {
  readonly config?: string;
  readonly json?: boolean;
}

interface CreateOptions extends Options {
  readonly roles?: string;
  readonly scopes?: string;
  readonly tenant?: string;
  readonly tier?: string;
  readonly expires?: string;
  readonly label?: string;
  readonly entry?: string;
  readonly replaces?: string;
  readonly overlap?: string;
}

type Made = KeyInfo & { readonly key: string };

/** `tollgate keys create SUBJECT`: makes a key, or with `--replaces ID` the successor of one. */
export async function createKey([subject]: readonly (string | undefined)[], options: CreateOptions): Promise<void> {
  const { dataDir } = await loadForCommand(options.config, { unapproved: true });
  const made = await order(dataDir, subject, options);
  if (options.json === true) {
    json(made);
    return;
  }
  out(`${made.key}\n`);
  out(`This is the only time the key is shown. It is ${made.id}, for ${holder(made)}${endOf(made)}.`);
  out('Send it as `Authorization: Bearer <key>`.');
}

/** `tollgate keys list`: one line a key. */
export async function listKeys(
  _: readonly (string | undefined)[],
  options: Options & { readonly all?: boolean },
): Promise<void> {
  const { dataDir } = await loadForCommand(options.config, { unapproved: true });
  const keys: KeyInfo[] = [];
  for (let after: string | undefined; ; ) {
    const query = new URLSearchParams({ limit: '1000', ...(after === undefined ? {} : { after }) });
    const page = (await (await control(dataDir, `/keys?${query}`)).json()) as { keys: KeyInfo[]; next?: string };
    keys.push(...page.keys.filter(({ state }) => options.all === true || state === 'active'));
    after = page.next;
    if (after === undefined) break;
  }
  if (options.json === true) json({ keys });
  else out(keys.length === 0 ? 'There are no keys.' : keys.map(line).join('\n'));
}

/** `tollgate keys revoke ID`. The key itself is taken too: whoever finds one need not look up its id. */
export async function revokeKey(
  [given]: readonly (string | undefined)[],
  options: Options & { readonly reason?: string },
): Promise<void> {
  const { dataDir } = await loadForCommand(options.config, { unapproved: true });
  const id = keyId(given!) ?? given!;
  const body = JSON.stringify({ reason: options.reason });
  await control(dataDir, `/keys/${encodeURIComponent(id)}`, { method: 'DELETE', body });
  if (options.json === true) json({ id, revoked: true });
  else out(`Revoked ${id}. What it had open is ended.`);
}

async function order(dataDir: string, subject: string | undefined, options: CreateOptions): Promise<Made> {
  const { replaces, overlap, config: _, json: __, roles, scopes, ...rest } = options;
  if (replaces !== undefined) {
    if (subject !== undefined || roles !== undefined || scopes !== undefined || Object.keys(rest).length > 0) {
      throw new TollgateError(
        'usage',
        'A successor has all that the key before has: give only --replaces and --overlap.',
      );
    }
    return send(dataDir, `/keys/${encodeURIComponent(replaces)}/replace`, { overlap });
  }
  if (subject === undefined) throw new TollgateError('usage', 'Say whose key it is: tollgate keys create SUBJECT.');
  if (overlap !== undefined) throw new TollgateError('usage', '--overlap belongs to --replaces.');
  return send(dataDir, '/keys', { subject, roles: words(roles), scopes: words(scopes), ...rest });
}

async function send(dataDir: string, path: string, body: object): Promise<Made> {
  return (await (await control(dataDir, path, { method: 'POST', body: JSON.stringify(body) })).json()) as Made;
}

function words(list: string | undefined): string[] | undefined {
  return list?.split(',').flatMap((word) => (word.trim() === '' ? [] : [word.trim()]));
}

function holder({ entry, subject, tenant }: KeyInfo): string {
  return `${entry}/${subject}${tenant === undefined ? '' : ` of ${tenant}`}`;
}

function endOf({ expiresAt }: KeyInfo): string {
  return expiresAt === undefined ? '' : `, until ${instant(expiresAt)}`;
}

function line(key: KeyInfo): string {
  const { id, state, roles, scopes, tier, label, createdBy, createdAt, lastUsedAt, revokedAt, revokedBy } = key;
  const parts = [
    `roles ${roles.join(', ') || 'none'}`,
    scopes.length > 0 && `scopes ${scopes.join(' ')}`,
    tier !== undefined && `tier ${tier}`,
    `made by ${createdBy} on ${instant(createdAt)}`,
    lastUsedAt === undefined ? 'never used' : `last used ${instant(lastUsedAt)}`,
    revokedAt !== undefined && `revoked by ${revokedBy} on ${instant(revokedAt)}`,
    label,
  ].filter((part) => part !== false && part !== undefined);
  return `  ${id} ${state === 'active' ? '' : `(${state}) `}${holder(key)}${endOf(key)}: ${parts.join('; ')}`;
}

function instant(at: number): string {
  return new Date(at).toISOString();
}
