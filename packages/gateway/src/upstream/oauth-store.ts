/**
 * Tokens of servers with `auth: oauth`, in one JSON file that only its owner can read, until the vault keeps them.
 * The command line and a running gateway share it: writes are atomic, and changes are made under a lock file.
 */
import { constants } from 'node:fs';
import { mkdir, open, readFile, rename, unlink } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { TollgateError } from '../core/errors.ts';
import { randomId } from '../core/ids.ts';

const Tokens = z.object({
  accessToken: z.string(),
  refreshToken: z.string().optional(),
  scope: z.string().optional(),
  /** Milliseconds since the epoch, some time before the end; absent when the authorization server named none. */
  useUntil: z.number().optional(),
});

const Entry = z.object({
  /** The server's URL at sign-in: a token is never sent anywhere else. */
  url: z.string(),
  /** Issuer of the tokens. */
  issuer: z.string().optional(),
  authorizationServer: z.string().optional(),
  /** The validated metadata of the authorization server at sign-in. */
  metadata: z.unknown(),
  /** Resource indicator of the tokens (RFC 8707). */
  resource: z.string().optional(),
  /** Registrations, by issuer: a client id means nothing to another authorization server. */
  clients: z.record(z.string(), z.looseObject({ client_id: z.string() })),
  tokens: Tokens.optional(),
  /** Scopes that the server found missing: the next sign-in asks for them. */
  wantedScope: z.string().optional(),
});

const File = z.object({ version: z.literal(1), servers: z.record(z.string(), Entry) });

export type OAuthTokensEntry = z.infer<typeof Tokens>;
export type OAuthEntry = z.infer<typeof Entry>;
type OAuthFile = z.infer<typeof File>;

const LOCK_WAIT_MS = 20_000;
const LOCK_POLL_MS = 50;

/** Changes in this process wait for each other here, before they try the lock file. */
const queues = new Map<string, Promise<unknown>>();

export class OAuthStore {
  readonly file: string;

  constructor(file: string) {
    this.file = file;
  }

  /** Undefined when nothing is stored for the server. Rejects with `config_invalid` for a file that is not private. */
  async read(server: string): Promise<OAuthEntry | undefined> {
    const { servers } = await this.#load();
    return Object.hasOwn(servers, server) ? servers[server] : undefined;
  }

  /**
   * Replaces the entry of one server by what `change` makes of it; no other process changes the file meanwhile, so
   * a refresh token is used once. What `change` throws leaves the file as it was.
   */
  update(server: string, change: (entry: OAuthEntry | undefined) => Promise<OAuthEntry>): Promise<OAuthEntry> {
    const before = queues.get(this.file) ?? Promise.resolve();
    const mine = before.then(() => this.#locked(server, change));
    const settled = mine.catch(() => {});
    queues.set(this.file, settled);
    void settled.then(() => {
      if (queues.get(this.file) === settled) queues.delete(this.file);
    });
    return mine;
  }

  async #locked(server: string, change: (entry: OAuthEntry | undefined) => Promise<OAuthEntry>): Promise<OAuthEntry> {
    await mkdir(path.dirname(this.file), { recursive: true, mode: 0o700 });
    const unlock = await this.#lock();
    try {
      const content = await this.#load();
      const old = Object.hasOwn(content.servers, server) ? content.servers[server] : undefined;
      const entry = await change(old);
      if (entry !== old) await this.#save({ ...content, servers: { ...content.servers, [server]: entry } });
      return entry;
    } finally {
      await unlock();
    }
  }

  async #load(): Promise<OAuthFile> {
    let text: string;
    try {
      // A link could point anywhere; the file is ours and is never one.
      const handle = await open(this.file, constants.O_RDONLY | constants.O_NOFOLLOW);
      try {
        const { mode, uid } = await handle.stat();
        this.#requirePrivate(mode, uid);
        text = await handle.readFile('utf8');
      } finally {
        await handle.close();
      }
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return { version: 1, servers: {} };
      if (TollgateError.is(cause)) throw cause;
      throw this.#problem(`cannot be read (${String((cause as NodeJS.ErrnoException).code)})`, cause);
    }
    try {
      return File.parse(JSON.parse(text));
    } catch {
      // The cause would quote the file, and the file holds secrets.
      throw this.#problem('is damaged; delete it and sign in again with `tollgate login NAME`');
    }
  }

  #requirePrivate(mode: number, uid: number): void {
    if (process.platform === 'win32') return;
    if ((mode & 0o077) !== 0) {
      const octal = (mode & 0o777).toString(8).padStart(4, '0');
      throw this.#problem(`holds sign-in tokens and others may open it (mode ${octal}); run \`chmod 600\` on it`);
    }
    if (process.getuid !== undefined && uid !== process.getuid()) {
      throw this.#problem('holds sign-in tokens and belongs to another user');
    }
  }

  async #save(content: OAuthFile): Promise<void> {
    // A name that nobody could have put a link at.
    const temporary = `${this.file}.${randomId(12)}.tmp`;
    const handle = await open(temporary, 'wx', 0o600);
    try {
      await handle.chmod(0o600);
      await handle.writeFile(`${JSON.stringify(content, undefined, 2)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, this.file);
  }

  /** The lock file names its process, so that one left by a crash is recognised. */
  async #lock(): Promise<() => Promise<void>> {
    const lock = `${this.file}.lock`;
    const deadline = performance.now() + LOCK_WAIT_MS;
    for (;;) {
      try {
        const handle = await open(lock, 'wx', 0o600);
        await handle.writeFile(String(process.pid));
        await handle.close();
        return () => unlink(lock).catch(() => {});
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw this.#problem('cannot be locked', cause);
      }
      if (await isAbandoned(lock)) await unlink(lock).catch(() => {});
      else if (performance.now() > deadline) throw this.#problem('is locked by another process; try again');
      else await new Promise((resolve) => setTimeout(resolve, LOCK_POLL_MS));
    }
  }

  #problem(what: string, cause?: unknown): TollgateError {
    return new TollgateError('config_invalid', `${this.file} ${what}`, { cause });
  }
}

async function isAbandoned(lock: string): Promise<boolean> {
  try {
    const pid = Number(await readFile(lock, 'utf8'));
    // Empty: its process is between creating and writing.
    if (!Number.isSafeInteger(pid) || pid <= 0) return false;
    process.kill(pid, 0);
    return pid === process.pid;
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === 'ESRCH';
  }
}
