/** `tollgate --stdio`: the pipes of this process become a client of the one gateway of the configuration. */
import { spawn } from 'node:child_process';
import { closeSync, constants, fstatSync, mkdirSync, openSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { TollgateError } from '../core/errors.ts';
import { pumpStdio } from '../inbound/stdio-pump.ts';
import { FOLDER_TAKEN } from '../store/lock.ts';
import type { CommandConfig } from './configuration.ts';
import { Exit, err } from './output.ts';
import { findHolder } from './running.ts';

/** Clients give a server about a minute; at a log-in everything starts at once. */
const START_MS = 50_000;
const RETRY_MS = 50;
/** The winner of a race between several starts needs a moment until it takes clients. */
const LOST_MS = 1500;
/** Bytes of a failed start's output that are read for its reason. */
const LAST_WORDS_MAX = 64 * 1024;

/**
 * Attaches, starting a detached gateway first (on `listen`, where given) when none runs. Ends when either side does, with 3 when it was the gateway.
 * Rejects with `gateway_not_running` and the reason when the one that was started cannot serve.
 */
export async function attachOrStart(command: CommandConfig, listen: string | undefined): Promise<number> {
  const socketPath = command.compiled.inbound.attachSocket;
  if (socketPath === undefined) throw new TollgateError('usage', 'This configuration has no attach socket');
  const { stdin, stdout } = process;
  const pump = async (): Promise<number> => {
    if ((await pumpStdio({ socketPath, endpoint: command.mainPath, stdin, stdout })) === 'client') return Exit.ok;
    err('The gateway has stopped. Connect again: that starts it anew.');
    return Exit.unreachable;
  };
  try {
    return await pump();
  } catch (error) {
    if (!TollgateError.is(error) || error.code !== 'gateway_not_running') throw error;
  }
  const started = startDetached(command, listen);
  const until = performance.now() + START_MS;
  for (;;) {
    try {
      return await pump();
    } catch (error) {
      if (!TollgateError.is(error) || error.code !== 'gateway_not_running') throw error;
      const late = performance.now() > until;
      const ended = await started.failure(late);
      if (ended !== undefined || late) {
        throw new TollgateError(
          'gateway_not_running',
          `The gateway did not start${late ? ` within ${START_MS / 1000} s` : ''}${ended ? `: ${ended}` : '.'} Its log is ${started.log}.`,
          { cause: error },
        );
      }
      await sleep(RETRY_MS);
    }
  }
}

interface Started {
  readonly log: string;
  /**
   * Why it ended without serving, once it has and no other gateway serves or is starting in its place; empty when it did
   * not say. `late`: one that is starting is not waited for any more.
   */
  failure(late: boolean): Promise<string | undefined>;
}

/** Several clients may start one at the same time; the data folder lets one win, and all attach to that. */
function startDetached({ file, dataDir }: CommandConfig, listen: string | undefined): Started {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const path = join(dataDir, 'gateway.log');
  const log = openLog(path);
  const before = fstatSync(log).size;
  const script = process.argv[1];
  if (script === undefined) throw new TollgateError('usage', '--stdio must be run through the tollgate command');
  const child = spawn(
    process.execPath,
    [script, 'serve', file, '--detached', ...(listen ? ['--listen', listen] : [])],
    {
      detached: true,
      stdio: ['ignore', log, log],
    },
  );
  let ended = Number.POSITIVE_INFINITY;
  for (const event of ['exit', 'error']) child.once(event, () => (ended = performance.now()));
  child.unref();
  closeSync(log);
  return {
    log: path,
    // One that lost the race to another client's ends too; soon there is that one to attach to.
    failure: async (late) => {
      if (performance.now() < ended + LOST_MS || (await findHolder(dataDir)) !== undefined) return undefined;
      const words = lastWords(await readFrom(path, before));
      return words.includes(FOLDER_TAKEN) && !late ? undefined : words;
    },
  };
}

/** Not through a link: the data folder may lie in a repository, and what a server says must not end up elsewhere. */
function openLog(path: string): number {
  const { O_APPEND, O_CREAT, O_NOFOLLOW, O_WRONLY } = constants;
  try {
    return openSync(path, O_APPEND | O_CREAT | O_WRONLY | (O_NOFOLLOW ?? 0), 0o600);
  } catch (error) {
    throw new TollgateError('config_invalid', `${path} cannot be written. Delete it if it is a link, and try again.`, {
      cause: error,
    });
  }
}

async function readFrom(path: string, offset: number): Promise<string> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(LAST_WORDS_MAX), 0, LAST_WORDS_MAX, offset);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}

/** What the command said at its end: the last line that is no log. Several that fail together write the same log. */
function lastWords(text: string): string {
  return text.split('\n').findLast((line) => line !== '' && !line.startsWith('{')) ?? '';
}
