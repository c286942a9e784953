import { execFileSync, spawnSync } from 'node:child_process';
import { accessSync, chownSync, constants, existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Child, startChild } from './child.ts';
import { freePort } from './ports.ts';
import { temporaryDirectory } from './temporary-directory.ts';

export interface Services extends AsyncDisposable {
  /** `redis://127.0.0.1:port` of an empty Redis or Valkey, or TEST_REDIS_URL. */
  readonly redisUrl: string;
  /** `postgres://…` with the right to create databases, or TEST_POSTGRES_URL. */
  readonly postgresUrl: string;
  /** Folder with all that was ever written to that Redis, deleted or not; undefined for one that was there before. */
  readonly redisHistory: string | undefined;
}

const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * A real Redis and a real PostgreSQL for the tests, on free loopback ports with their data in temporary folders, or
 * those of TEST_REDIS_URL and TEST_POSTGRES_URL. Missing programs are installed from the system's packages when this
 * process may do that; otherwise this fails in one line. It never skips.
 */
export async function startServices(): Promise<Services> {
  const stack = new AsyncDisposableStack();
  try {
    const given = process.env['TEST_REDIS_URL'];
    const redis = given ? { url: given, history: undefined } : await startRedis(stack);
    const postgresUrl = process.env['TEST_POSTGRES_URL'] || (await startPostgres(stack));
    return {
      redisUrl: redis.url,
      postgresUrl,
      redisHistory: redis.history,
      [Symbol.asyncDispose]: () => stack.disposeAsync(),
    };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

async function startRedis(stack: AsyncDisposableStack): Promise<{ readonly url: string; readonly history: string }> {
  const find = () => findProgram('redis-server') ?? findProgram('valkey-server');
  const program = find() ?? install('redis-server', 'TEST_REDIS_URL', find);
  const folder = stack.use(await temporaryDirectory('redis'));
  const port = await freePort();
  const flags = [
    '--port',
    String(port),
    '--bind',
    '127.0.0.1',
    '--dir',
    folder.path,
    '--save',
    '',
    // Every command that changed something stays in the file, for the sweep at the end; nothing waits for the disk.
    '--appendonly',
    'yes',
    '--appendfsync',
    'no',
    '--auto-aof-rewrite-percentage',
    '0',
  ];
  const child = stack.use(await startChild(program, flags, { env: { PATH: SYSTEM_PATH } }));
  await child.waitFor(/Ready to accept connections/, 40_000);
  return { url: `redis://127.0.0.1:${port}`, history: folder.path };
}

async function startPostgres(stack: AsyncDisposableStack): Promise<string> {
  const find = () => findPostgres();
  const initdb = find() ?? install('postgresql', 'TEST_POSTGRES_URL', find);
  const folder = stack.use(await temporaryDirectory('postgres'));
  const data = join(folder.path, 'data');
  const owner = unprivilegedUser();
  if (owner !== undefined) chownSync(folder.path, owner.uid, owner.gid);
  const options = { ...owner, cwd: folder.path, env: { PATH: SYSTEM_PATH, HOME: folder.path, LC_ALL: 'C' } };
  const initArgs = ['-D', data, '-U', 'tollgate', '--auth=trust', '--encoding=UTF8', '--no-sync'];
  await using init = await startChild(initdb, initArgs, options);
  const { code } = await init.exited;
  if (code !== 0) throw new Error(`initdb failed\n${init.transcript()}`);
  const port = await freePort();
  const settings = {
    listen_addresses: '127.0.0.1',
    port,
    unix_socket_directories: '',
    fsync: 'off',
    max_connections: 200,
  };
  const args = Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`]);
  const server = await startChild(join(initdb, '../postgres'), ['-D', data, ...args], options);
  stack.adopt(server, stopPostgres);
  await server.waitFor(/database system is ready to accept connections/, 60_000);
  return `postgres://tollgate@127.0.0.1:${port}/postgres`;
}

/** SIGINT is PostgreSQL's fast shutdown: it disconnects clients and ends; SIGTERM would wait for them. */
async function stopPostgres(server: Child): Promise<void> {
  await server.stop('SIGINT', 10_000).catch(() => {});
  await server[Symbol.asyncDispose]();
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The program of that name in PATH or in the system's usual folders. */
export function findProgram(name: string): string | undefined {
  const folders = `${process.env['PATH'] ?? ''}:${SYSTEM_PATH}`.split(':').filter((folder) => folder !== '');
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

/** The path of `initdb` with `postgres` beside it: Debian keeps them out of PATH, one folder per version. */
function findPostgres(): string | undefined {
  const root = '/usr/lib/postgresql';
  const versions = existsSync(root) ? readdirSync(root).sort((a, b) => Number(b) - Number(a)) : [];
  const candidates = [...versions.map((version) => join(root, version, 'bin/initdb')), findProgram('initdb')];
  return candidates.find((path) => path !== undefined && isExecutable(path) && isExecutable(join(path, '../postgres')));
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/** PostgreSQL refuses to run as root: then it runs as `postgres`, else as `nobody`. */
function unprivilegedUser(): { uid: number; gid: number } | undefined {
  if (!isRoot()) return undefined;
  for (const user of ['postgres', 'nobody']) {
    const id = (flag: string) => spawnSync('id', [flag, user], { encoding: 'utf8' });
    const uid = id('-u');
    if (uid.status === 0) return { uid: Number(uid.stdout), gid: Number(id('-g').stdout) };
  }
  throw new Error('PostgreSQL refuses root and there is neither a user postgres nor nobody: set TEST_POSTGRES_URL');
}

/**
 * Installs a Debian package as root. `find` says where the program is afterwards.
 * @throws one line that names the variable which makes the installation unnecessary.
 */
export function install(name: string, variable: string, find: () => string | undefined): string {
  const aptGet = findProgram('apt-get');
  if (!isRoot() || aptGet === undefined) {
    throw new Error(
      `No ${name} here and no right to install it: install it, or set TEST_REDIS_URL and TEST_POSTGRES_URL (missing: ${variable})`,
    );
  }
  const env = { ...process.env, PATH: SYSTEM_PATH, DEBIAN_FRONTEND: 'noninteractive' };
  const run = (...args: string[]) => execFileSync(aptGet, args, { env, stdio: 'pipe', timeout: 300_000 });
  try {
    run('update');
    // The package's own service must not start: the tests bring their own ports and folders.
    run('install', '-y', '--no-install-recommends', '-o', 'Dpkg::Options::=--force-confdef', name);
  } catch (error) {
    const stderr = (error as { stderr?: Buffer }).stderr?.toString('utf8').trim().split('\n').at(-1) ?? '';
    throw new Error(`Installing ${name} failed (${stderr}): install it, or set ${variable}`);
  }
  const program = find();
  if (program === undefined) throw new Error(`${name} is installed but cannot be found: set ${variable}`);
  return program;
}
