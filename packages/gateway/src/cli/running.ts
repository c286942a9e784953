/** The running gateway of a data folder, as other commands find and talk to it. */
import { randomBytes } from 'node:crypto';
import { link, lstat, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TollgateError } from '../core/errors.ts';
import { notRunning } from './next-command.ts';
import { pinnedFetch } from './pinned-fetch.ts';

export interface RunningGateway {
  readonly pid: number;
  /** Base URL of the client-facing listener. */
  readonly url: string;
  /** Base URL of the control API. */
  readonly control: string;
  /** SHA-256 of the public key that the control API shows, base64; absent: it speaks plain HTTP. */
  readonly pin?: string | undefined;
  readonly configuration: string;
  /** ISO time. */
  readonly startedAt: string;
}

const RECORD = 'gateway.json';
/** Of further gateways that share a data folder, which those with `state: redis` may. */
const FURTHER = /^gateway-\d{1,10}\.json$/;
const TOKEN = 'admin.token';
const ANSWER_MS = 10_000;
const PROBE_MS = 2_000;

/** Leaves the record of a gateway that now serves; `further`: beside one that serves from the same folder. */
export async function writeRecord(dataDir: string, gateway: RunningGateway, further = false): Promise<void> {
  await writeAtomically(join(dataDir, further ? furtherName(gateway.pid) : RECORD), JSON.stringify(gateway));
}

/** Removes the record, unless another gateway has taken its place. */
export async function removeRecord(dataDir: string, pid: number): Promise<void> {
  const record = await readRecord(join(dataDir, RECORD));
  if (record?.pid === pid) await rm(join(dataDir, RECORD), { force: true });
  await rm(join(dataDir, furtherName(pid)), { force: true });
}

/** The gateway that serves from this data folder; of several, one; undefined when none does. */
export async function findRunning(dataDir: string): Promise<RunningGateway | undefined> {
  const further = await readdir(dataDir).then(
    (names) => names.filter((name) => FURTHER.test(name)).toSorted(),
    () => [],
  );
  for (const name of [RECORD, ...further]) {
    const record = await readRecord(join(dataDir, name));
    if (record === undefined) continue;
    if (isAlive(record.pid)) return record;
    // Killed: nobody else will remove it.
    if (name !== RECORD) await rm(join(dataDir, name), { force: true });
  }
  return undefined;
}

function furtherName(pid: number): string {
  return `gateway-${pid}.json`;
}

/**
 * The gateway that holds this data folder. After a crash the number of its process may belong to another program, so a
 * record whose address refuses connections counts for nothing; one that is merely slow does.
 */
export async function findHolder(dataDir: string): Promise<RunningGateway | undefined> {
  const record = await findRunning(dataDir);
  if (record === undefined) return undefined;
  try {
    await fetch(new URL('/healthz', record.control), { method: 'HEAD', signal: AbortSignal.timeout(PROBE_MS) });
    return record;
  } catch (error) {
    const { cause } = error as { cause?: NodeJS.ErrnoException };
    return cause?.code === 'ECONNREFUSED' ? undefined : record;
  }
}

/**
 * The admin token of a data folder, made at the first start: 256 random bits in a file that only its owner reads.
 * Throws `config_invalid` for a file that is a link, too short, or open to other users.
 */
export async function adminToken(dataDir: string): Promise<string> {
  const file = join(dataDir, TOKEN);
  const known = await readToken(file);
  if (known !== undefined) return known;
  const token = `tga_${randomBytes(32).toString('base64url')}`;
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const whole = `${file}.${randomBytes(6).toString('hex')}`;
  try {
    await writeFile(whole, `${token}\n`, { mode: 0o600, flag: 'wx' });
    // A link appears with its whole content, and only once: of several processes that start together, one makes the token.
    await link(whole, file);
    return token;
  } catch (error) {
    const winner = (error as NodeJS.ErrnoException).code === 'EEXIST' ? await readToken(file) : undefined;
    if (winner === undefined) throw error;
    return winner;
  } finally {
    await rm(whole, { force: true });
  }
}

async function readToken(file: string): Promise<string | undefined> {
  try {
    const why = await notOurs(file);
    if (why !== undefined) throw unsafeToken(file, why);
    const token = (await readFile(file, 'utf8')).trim();
    if (token.length < 32) throw unsafeToken(file, 'it is too short');
    return token;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Why a file was not written by a gateway of this user; undefined when it may have been. A data folder may lie in a
 * repository: what came with it (a checkout is readable by all), or what others can read, is others' work or known to
 * them.
 */
async function notOurs(file: string): Promise<string | undefined> {
  const found = await lstat(file);
  if (!found.isFile()) return 'it is no regular file';
  if (process.platform === 'win32') return undefined;
  const uid = process.getuid?.() ?? found.uid;
  return (found.mode & 0o077) !== 0 || (uid !== 0 && found.uid !== uid) ? 'others can read it' : undefined;
}

function unsafeToken(file: string, why: string): TollgateError {
  return new TollgateError(
    'config_invalid',
    `The admin token in ${file} is not used: ${why}. Delete it and restart the gateway, which makes a new one.`,
  );
}

/** Asks the running gateway. `gateway_not_running` when there is none. */
export async function control(dataDir: string, path: string, init: RequestInit = {}): Promise<Response> {
  const running = await findRunning(dataDir);
  if (running === undefined) {
    throw notRunning();
  }
  let response: Response;
  try {
    const asked = {
      signal: AbortSignal.timeout(ANSWER_MS),
      ...init,
      headers: { authorization: `Bearer ${await adminToken(dataDir)}` },
    };
    response = await pinnedFetch(new URL(`/api/v1${path}`, running.control), asked, running.pin);
  } catch (error) {
    throw new TollgateError(
      'gateway_not_running',
      `The gateway (process ${running.pid}) does not answer at ${running.control}`,
      { cause: error },
    );
  }
  if (response.ok) return response;
  const body = (await response.json().catch(() => undefined)) as
    | { error?: { code?: string; message?: string } }
    | undefined;
  const code = body?.error?.code === 'consent_required' ? 'consent_required' : 'usage';
  throw new TollgateError(code, body?.error?.message ?? `The gateway answered ${response.status}`);
}

/** Who believed a record of somebody else would show its address the admin token. */
async function readRecord(file: string): Promise<RunningGateway | undefined> {
  try {
    if ((await notOurs(file)) !== undefined) return undefined;
    const record = JSON.parse(await readFile(file, 'utf8')) as Partial<Record<keyof RunningGateway, unknown>> | null;
    const { pid, url, control, pin } = record ?? {};
    const sound =
      Number.isSafeInteger(pid) && (pid as number) > 0 && typeof url === 'string' && URL.canParse(String(control));
    if (pin !== undefined && typeof pin !== 'string') return undefined;
    return sound ? (record as unknown as RunningGateway) : undefined;
  } catch {
    return undefined;
  }
}

/** A process that another user owns answers EPERM: it lives. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function writeAtomically(file: string, text: string): Promise<void> {
  const temporary = `${file}.${randomBytes(6).toString('hex')}`;
  await writeFile(temporary, text, { mode: 0o600, flag: 'wx' });
  await rename(temporary, file);
}
