/** The running gateway of a data folder, as other commands find and talk to it. */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TollgateError } from '../core/errors.ts';

export interface RunningGateway {
  readonly pid: number;
  /** Base URL of the client-facing listener. */
  readonly url: string;
  /** Base URL of the control API. */
  readonly control: string;
  readonly configuration: string;
  /** ISO time. */
  readonly startedAt: string;
}

const RECORD = 'gateway.json';
const TOKEN = 'admin.token';
const ANSWER_MS = 10_000;

/** Leaves the record of a gateway that now serves. */
export async function writeRecord(dataDir: string, gateway: RunningGateway): Promise<void> {
  await writeAtomically(join(dataDir, RECORD), JSON.stringify(gateway));
}

/** Removes the record, unless another gateway has taken its place. */
export async function removeRecord(dataDir: string, pid: number): Promise<void> {
  const record = await readRecord(dataDir);
  if (record?.pid === pid) await rm(join(dataDir, RECORD), { force: true });
}

/** The gateway that serves from this data folder; undefined when none does. */
export async function findRunning(dataDir: string): Promise<RunningGateway | undefined> {
  const record = await readRecord(dataDir);
  return record !== undefined && isAlive(record.pid) ? record : undefined;
}

/** The admin token of a data folder, made at the first start: 256 random bits in a file that only its owner reads. */
export async function adminToken(dataDir: string): Promise<string> {
  const file = join(dataDir, TOKEN);
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const token = `tga_${randomBytes(32).toString('base64url')}`;
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  try {
    await writeFile(file, `${token}\n`, { mode: 0o600, flag: 'wx' });
    return token;
  } catch (error) {
    // Another process made it between the two calls: there is only one token.
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return (await readFile(file, 'utf8')).trim();
    throw error;
  }
}

/** Asks the running gateway. `gateway_not_running` when there is none, with the command that starts it. */
export async function control(dataDir: string, path: string, init: RequestInit = {}): Promise<Response> {
  const running = await findRunning(dataDir);
  if (running === undefined) {
    throw new TollgateError(
      'gateway_not_running',
      'No gateway of this configuration is running. Start it with: tollgate serve',
    );
  }
  let response: Response;
  try {
    response = await fetch(new URL(`/api/v1${path}`, running.control), {
      signal: AbortSignal.timeout(ANSWER_MS),
      ...init,
      headers: { authorization: `Bearer ${await adminToken(dataDir)}` },
    });
  } catch (error) {
    throw new TollgateError(
      'gateway_not_running',
      `The gateway (process ${running.pid}) does not answer at ${running.control}`,
      { cause: error },
    );
  }
  if (response.ok) return response;
  const body = (await response.json().catch(() => undefined)) as { error?: { message?: string } } | undefined;
  throw new TollgateError('usage', body?.error?.message ?? `The gateway answered ${response.status}`);
}

async function readRecord(dataDir: string): Promise<RunningGateway | undefined> {
  try {
    return JSON.parse(await readFile(join(dataDir, RECORD), 'utf8')) as RunningGateway;
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
  const temporary = `${file}.${process.pid}`;
  await writeFile(temporary, text, { mode: 0o600 });
  await rename(temporary, file);
}
