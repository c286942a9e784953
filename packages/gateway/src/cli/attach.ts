/** `tollgate --stdio`: the pipes of this process become a client of the one gateway of the configuration. */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { TollgateError } from '../core/errors.ts';
import { pumpStdio } from '../inbound/stdio-pump.ts';
import type { CommandConfig } from './configuration.ts';
import { Exit } from './output.ts';

const START_MS = 20_000;
const RETRY_MS = 50;

/** Attaches, starting a detached gateway first when none runs. Ends when either side does. */
export async function attachOrStart(command: CommandConfig): Promise<number> {
  const socketPath = command.compiled.inbound.attachSocket;
  if (socketPath === undefined) throw new TollgateError('usage', 'This configuration has no attach socket');
  const pump = (): Promise<void> =>
    pumpStdio({ socketPath, endpoint: command.mainPath, stdin: process.stdin, stdout: process.stdout });
  try {
    await pump();
    return Exit.ok;
  } catch (error) {
    if (!TollgateError.is(error) || error.code !== 'gateway_not_running') throw error;
  }
  const log = startDetached(command);
  const until = performance.now() + START_MS;
  for (;;) {
    try {
      await pump();
      return Exit.ok;
    } catch (error) {
      if (!TollgateError.is(error) || error.code !== 'gateway_not_running') throw error;
      if (performance.now() > until) {
        throw new TollgateError(
          'gateway_not_running',
          `The gateway did not start within ${START_MS / 1000} s. Its log is ${log}.`,
          { cause: error },
        );
      }
      await sleep(RETRY_MS);
    }
  }
}

/** Several clients may start one at the same time; the data folder lets one win, and all attach to that. */
function startDetached(command: CommandConfig): string {
  mkdirSync(command.dataDir, { recursive: true, mode: 0o700 });
  const file = join(command.dataDir, 'gateway.log');
  const log = openSync(file, 'a', 0o600);
  const script = process.argv[1];
  if (script === undefined) throw new TollgateError('usage', '--stdio must be run through the tollgate command');
  const child = spawn(process.execPath, [script, 'serve', command.file, '--detached'], {
    detached: true,
    stdio: ['ignore', log, log],
  });
  child.on('error', () => undefined);
  child.unref();
  closeSync(log);
  return file;
}
