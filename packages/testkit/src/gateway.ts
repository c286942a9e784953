import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type Child, startChild } from './child.ts';
import { temporaryDirectory } from './temporary-directory.ts';
import { waitUntil } from './wait.ts';

/** Milliseconds that a gateway waits for servers before it says that it is ready, unless it is told otherwise. */
const LIST_TIMEOUT = 5_000;

/** The launcher that `npx tollgate` runs. */
export const TOLLGATE_BIN: string = resolve(import.meta.dirname, '../../gateway/bin/tollgate.js');

export interface GatewayOptions {
  /** More arguments after `serve CONFIG --listen 127.0.0.1:0`. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Folder for the configuration and all state; default: a temporary one, deleted at the end. */
  readonly folder?: string;
  /** Milliseconds until it must print its report, and then be ready. Default 40 s each. */
  readonly readyTimeout?: number;
}

export interface RunningGateway extends AsyncDisposable {
  readonly child: Child;
  readonly port: number;
  /** Folder of the configuration. */
  readonly folder: string;
  readonly configFile: string;
  /** The start-up report, as `--json` prints it. */
  readonly report: Readonly<Record<string, unknown>>;
  /** URL of a path, default the endpoint `/mcp`; `host` default 127.0.0.1. */
  url(path?: string, host?: string): string;
}

/**
 * Starts the real command line as a child process on a free loopback port and waits until it is ready. A
 * configuration object is written as JSON, which is YAML too; a string is written as it is.
 */
export async function startGateway(config: object | string, options: GatewayOptions = {}): Promise<RunningGateway> {
  const own = options.folder === undefined ? await temporaryDirectory('gateway') : undefined;
  const folder = options.folder ?? own?.path ?? '';
  const configFile = join(folder, 'tollgate.yaml');
  await writeFile(configFile, typeof config === 'string' ? config : JSON.stringify(config, null, 2));
  const began = performance.now();
  const child = await startChild(
    process.execPath,
    [TOLLGATE_BIN, 'serve', configFile, '--listen', '127.0.0.1:0', '--json', ...(options.args ?? [])],
    { cwd: folder, ...(options.env === undefined ? {} : { env: options.env }) },
  );
  try {
    const timeout = options.readyTimeout ?? 40_000;
    const line = (await child.waitFor(/^\{.*"url":.*\}$/m, timeout))[0];
    const report = JSON.parse(line) as Record<string, unknown>;
    const port = Number(new URL(String(report['url'])).port);
    const isReady = async (): Promise<boolean> => {
      const response = await fetch(`http://127.0.0.1:${port}/readyz`);
      await response.arrayBuffer();
      return response.status === 200;
    };
    await waitUntil(`readiness\n${child.transcript()}`, isReady, { timeout, interval: 20 });
    if (performance.now() - began > LIST_TIMEOUT) await lateServers(join(folder, dataDirOf(config)), timeout);
    return {
      child,
      port,
      folder,
      configFile,
      report,
      url: (path = '/mcp', host = '127.0.0.1') => `http://${host}:${port}${path}`,
      [Symbol.asyncDispose]: async () => {
        await child[Symbol.asyncDispose]();
        await own?.[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await child[Symbol.asyncDispose]();
    await own?.[Symbol.asyncDispose]();
    throw error;
  }
}

function dataDirOf(config: object | string): string {
  const { dataDir } = typeof config === 'string' ? {} : (config as { readonly dataDir?: string });
  return dataDir ?? '.tollgate';
}

/**
 * On a slow machine the gateway may be ready before its servers have answered, as it promises, and a test would call
 * tools that it does not know yet. Waits for those that are still starting, and then for the lists of those that have
 * offered nothing; not for ever, as some never answer or have nothing to offer.
 */
async function lateServers(dataDir: string, timeout: number): Promise<void> {
  let emptySince: number | undefined;
  const settled = async (): Promise<boolean> => {
    const token = (await readFile(join(dataDir, 'admin.token'), 'utf8')).trim();
    const { control } = JSON.parse(await readFile(join(dataDir, 'gateway.json'), 'utf8')) as { control: string };
    const response = await fetch(`${control}/api/v1/status`, { headers: { authorization: `Bearer ${token}` } });
    const { servers } = (await response.json()) as {
      servers: { state: string; tools: number; prompts: number; resources: number }[];
    };
    if (servers.some(({ state }) => state === 'starting')) return false;
    const empty = servers.some((one) => one.state === 'ready' && one.tools + one.prompts + one.resources === 0);
    emptySince ??= performance.now();
    return !empty || performance.now() - emptySince > LIST_TIMEOUT;
  };
  await waitUntil('servers', settled, { timeout, interval: 100 }).catch(() => undefined);
}

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs one command of the real command line to its end; `input` is its standard input. Rejects after 40 seconds. */
export async function runTollgate(args: readonly string[], folder: string, input = ''): Promise<Finished> {
  await using child = await startChild(process.execPath, [TOLLGATE_BIN, ...args], { cwd: folder, input });
  const timer = setTimeout(() => child.signal('SIGKILL'), 40_000);
  const { code, signal } = await child.exited;
  clearTimeout(timer);
  if (signal === 'SIGKILL') throw new Error(`Did not end within 40 s\n${child.transcript()}`);
  return { code, stdout: child.stdout(), stderr: child.stderr() };
}
