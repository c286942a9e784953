/** `tollgate vault …`: secrets go in over standard input or a file, and never come out. */
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { checkFormat, providerNamed } from '../api/user/providers.ts';
import { TollgateError } from '../core/errors.ts';
import { REFERENCE_NAME } from '../core/secret-reference.ts';
import type { SecretInfo } from '../core/secrets.ts';
import type { SecretChoice } from '../pipeline/vault-administration.ts';
import { ownerText } from '../pipeline/vault-state.ts';
import { Exit, err, json, out } from './output.ts';
import { count } from './report.ts';
import { withVault } from './vault-port.ts';

interface Options {
  readonly config?: string;
  readonly json?: boolean;
}

interface Owned extends Options {
  readonly tenant?: string;
  readonly user?: string;
}

type Arguments = readonly (string | undefined)[];

const MAX_INPUT = 128 * 1024;

export async function setSecret(
  [name]: Arguments,
  options: Owned & {
    readonly file?: string;
    readonly expires?: string;
    readonly overlap?: string;
    readonly server?: string;
    readonly provider?: string;
  },
): Promise<void> {
  const choice = choiceOf(name, options);
  const provider = options.provider === undefined ? undefined : providerNamed(options.provider);
  const value = await readValue(options.file, choice.name);
  if (provider !== undefined) checkFormat(provider, value);
  const info = await withVault(options.config, (port) =>
    port.set({ ...choice, value, expires: options.expires, overlap: options.overlap, server: options.server }),
  );
  if (info.warning !== undefined) err(`Warning: ${info.warning}`);
  if (options.json === true) json(info);
  else out(`Set ${line(info)}`);
}

export async function listSecrets(_: Arguments, options: Options): Promise<void> {
  const secrets = await withVault(options.config, (port) => port.list());
  if (options.json === true) json({ secrets });
  else out(secrets.length === 0 ? 'The vault is empty.' : secrets.map(line).join('\n'));
}

export async function removeSecret([name]: Arguments, options: Owned): Promise<void> {
  const choice = choiceOf(name, options);
  await withVault(options.config, (port) => port.remove(choice));
  if (options.json === true) json({ name: choice.name, removed: true });
  else out(`Removed ${choice.name}. What used it is refused until it is set again.`);
}

/** The secret may have been seen: it is not used any more, its value is erased, and webhooks are told. */
export async function revokeSecret(
  [name]: Arguments,
  options: Owned & { readonly reason?: string; readonly replace?: boolean; readonly file?: string },
): Promise<void> {
  const choice = choiceOf(name, options);
  const { reason, replace, file } = options;
  if (file !== undefined && replace !== true) {
    throw new TollgateError('usage', '--file holds the value that comes in its place: write --replace too.');
  }
  if (reason === undefined) throw new TollgateError('usage', 'Say why: --reason "…"; it is kept and told to webhooks.');
  // Before anything is erased: who has no new value has made a mistake, and loses nothing by it.
  const value = replace === true ? await readValue(file, choice.name) : undefined;
  const info = await withVault(options.config, async (port) => {
    await port.revoke(choice, reason);
    return value === undefined ? undefined : port.set({ ...choice, value, expires: undefined, overlap: undefined });
  });
  if (options.json === true) json({ name: choice.name, revoked: true, ...(info === undefined ? {} : { info }) });
  else if (info !== undefined) {
    out(`Revoked ${choice.name} and set its new value. Revoke the old one where it was issued too.\n${line(info)}`);
  } else {
    out(
      `Revoked ${choice.name}: its value is erased. Revoke it where it was issued too, then set a new one: tollgate vault set ${choice.name}`,
    );
  }
}

export async function vaultStatus(_: Arguments, options: Options): Promise<void> {
  const status = await withVault(options.config, (port) => port.status());
  if (options.json === true) {
    json(status);
    return;
  }
  const keys = status.keys.map(
    ({ version, key, state, values, at }) =>
      `  version ${version}  ${key}  ${state}, ${count(values, 'sealed value')}, since ${new Date(at).toISOString()}`,
  );
  out(
    keys.length === 0
      ? 'The vault is empty; its master key is made with the first secret.'
      : [`${count(status.secrets, 'secret')}. Master keys:`, ...keys].join('\n'),
  );
}

export async function rotateKey(_: Arguments, options: Options): Promise<void> {
  const key = await withVault(options.config, (port) => port.rotate());
  if (options.json === true) json(key);
  else
    out(
      `New secrets are sealed under version ${key.version} (${key.key}). Move the others with: tollgate vault rewrap`,
    );
}

export async function rewrapSecrets(_: Arguments, options: Options): Promise<number> {
  const done = await withVault(options.config, async (port) => {
    let rewrapped = 0;
    for (;;) {
      const report = await port.rewrap();
      rewrapped += report.rewrapped;
      // What fails is tried once by every run: a run that moves nothing more has found only such.
      if (report.left === 0 || report.rewrapped === 0) return { ...report, rewrapped };
    }
  });
  if (options.json === true) json(done);
  else {
    const failed = done.failed === 0 ? '' : ` ${done.failed} cannot be opened; see the log.`;
    out(`Moved ${count(done.rewrapped, 'sealed value')} to the newest master key, ${done.left} are left.${failed}`);
  }
  return done.left === 0 ? Exit.ok : Exit.failure;
}

export async function retireKey([version]: Arguments, options: Options): Promise<void> {
  const number = versionOf(version);
  await withVault(options.config, (port) => port.retire(number));
  if (options.json === true) json({ version: number, state: 'retired' });
  else out(`Version ${number} of the master key is retired. It can be destroyed when no backup needs it.`);
}

export async function destroyKey(
  [version]: Arguments,
  options: Options & { readonly confirm?: string },
): Promise<void> {
  const number = versionOf(version);
  const { confirm } = options;
  if (confirm === undefined) {
    throw new TollgateError(
      'usage',
      'Backups sealed under this key become unreadable. Confirm with --confirm KEY, the name that `vault status` shows.',
    );
  }
  await withVault(options.config, (port) => port.destroy(number, confirm));
  if (options.json === true) json({ version: number, state: 'destroyed' });
  else out(`Version ${number} of the master key is destroyed.`);
}

export async function reencryptSecrets(_: Arguments, options: Options): Promise<void> {
  const reencrypted = await withVault(options.config, (port) => port.reencrypt());
  if (options.json === true) json({ reencrypted });
  else out(`${reencrypted} secrets are sealed anew, each under a new data key.`);
}

function choiceOf(name: string | undefined, { tenant, user }: Owned): SecretChoice {
  if (name === undefined || !REFERENCE_NAME.test(name)) {
    throw new TollgateError(
      'usage',
      'The name of a secret has letters, digits, dot, dash and underscore, at most 100.',
    );
  }
  if (tenant !== undefined && user !== undefined) {
    throw new TollgateError('usage', 'Give --tenant or --user, not both.');
  }
  return { name, ...(tenant === undefined ? {} : { tenant }), ...(user === undefined ? {} : { user }) };
}

function versionOf(text: string | undefined): number {
  if (text !== undefined && /^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new TollgateError('usage', 'Name the version as a number, as `tollgate vault status` shows it.');
}

/** Never from the command line, which every user of the machine can read. */
async function readValue(file: string | undefined, name: string): Promise<string> {
  const text =
    file !== undefined
      ? await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
          throw new TollgateError('usage', `${file} cannot be read (${error.code ?? 'unknown'})`);
        })
      : process.stdin.isTTY
        ? await ask(name)
        : await readInput();
  const value = text.replace(/\r?\n$/, '');
  if (value === '')
    throw new TollgateError('usage', 'There is no value: write it to standard input, or name a --file.');
  return value;
}

async function readInput(): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_INPUT) throw new TollgateError('usage', 'The value is larger than 64 KiB.');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

/** Asks at the terminal without showing what is typed. */
async function ask(name: string): Promise<string> {
  const hidden = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output: hidden, terminal: true });
  process.stderr.write(`Value of ${name} (not shown): `);
  const gone = new Promise<string>((resolve) => terminal.once('close', () => resolve('')));
  try {
    return await Promise.race([terminal.question(''), gone]);
  } finally {
    terminal.close();
    process.stderr.write('\n');
  }
}

function line(info: SecretInfo): string {
  const { id, fingerprint, state, updatedAt, updatedBy, expiresAt, lastUsedAt, labels, version } = info;
  const parts = [
    `version ${version}`,
    `fingerprint ${fingerprint}`,
    state,
    `set ${new Date(updatedAt).toISOString()} by ${updatedBy}`,
    lastUsedAt === undefined ? 'never used' : `last used ${new Date(lastUsedAt).toISOString()}`,
    ...(expiresAt === undefined ? [] : [`expires ${new Date(expiresAt).toISOString()}`]),
    ...(labels['server'] === undefined ? [] : [`only for ${labels['server']}`]),
    ...(id.purpose === 'secret' ? [] : [id.purpose]),
  ];
  return `${id.name} (${ownerText(id.owner)}): ${parts.join(', ')}`;
}
