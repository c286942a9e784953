import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type Child, startChild } from './child.ts';
import { temporaryDirectory } from './temporary-directory.ts';
import { waitUntil } from './wait.ts';

/** The launcher that `npx tollgate` runs. */
export const TOLLGATE_BIN: string = resolve(import.meta.dirname, '../../gateway/bin/tollgate.js');

export interface GatewayOptions {
  /** More arguments after `serve CONFIG --listen 127.0.0.1:0`. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Folder for the configuration and all state; default: a temporary one, deleted at the end. */
  readonly folder?: string;
  /** Milliseconds until it must print its report, and then be ready. Default 20 s each. */
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
  const child = await startChild(
    process.execPath,
    [TOLLGATE_BIN, 'serve', configFile, '--listen', '127.0.0.1:0', '--json', ...(options.args ?? [])],
    { cwd: folder, ...(options.env === undefined ? {} : { env: options.env }) },
  );
  try {
    const timeout = options.readyTimeout ?? 20_000;
    const line = (await child.waitFor(/^\{.*"url":.*\}$/m, timeout))[0];
    const report = JSON.parse(line) as Record<string, unknown>;
    const port = Number(new URL(String(report['url'])).port);
    const isReady = async (): Promise<boolean> => {
      const response = await fetch(`http://127.0.0.1:${port}/readyz`);
      await response.arrayBuffer();
      return response.status === 200;
    };
    await waitUntil(`readiness\n${child.transcript()}`, isReady, { timeout, interval: 20 });
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

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs one command of the real command line to its end, at most 20 seconds; `input` is its standard input. */
export async function runTollgate(args: readonly string[], folder: string, input = ''): Promise<Finished> {
  await using child = await startChild(process.execPath, [TOLLGATE_BIN, ...args], { cwd: folder, input });
  const timer = setTimeout(() => child.signal('SIGKILL'), 20_000);
  const { code } = await child.exited;
  clearTimeout(timer);
  return { code, stdout: child.stdout(), stderr: child.stderr() };
}
