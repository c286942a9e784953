/** `tollgate serve`: starts the gateway, says what clients will see, applies changes, ends in order. */
import { existsSync, watch } from 'node:fs';
import { basename, dirname, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { formatProblems } from '../config/problems.ts';
import { TollgateError } from '../core/errors.ts';
import { FOLDER_TAKEN } from '../store/lock.ts';
import { createLog, type ProcessLog } from '../telemetry/log.ts';
import { attachOrStart } from './attach.ts';
import { type CommandConfig, loadForCommand } from './configuration.ts';
import { Host, type HostOptions, RUNS_ALREADY } from './host.ts';
import { programName, shellWord } from './next-command.ts';
import { Exit, err, json, out } from './output.ts';
import { type NextCommands, renderStart } from './report.ts';

export interface ServeOptions {
  readonly listen?: string;
  readonly stdio?: boolean;
  readonly watch?: boolean;
  readonly trust?: boolean;
  readonly json?: boolean;
  readonly debug?: boolean;
  readonly detached?: boolean;
}

/** A detached gateway ends so long after its last stdio client has left. */
const DETACHED_IDLE_MS = 5 * 60_000;
/** For one that is leaving a detached gateway waits about as long as the client that started it does. */
const LEAVING_MS = 45_000;
const LEAVING_LOOK_MS = 100;
/** Editors save in several steps. */
const WATCH_SETTLE_MS = 200;

export async function serve([file]: readonly (string | undefined)[], options: ServeOptions): Promise<number> {
  const command = await loadForCommand(file, options);
  if (options.stdio === true) return attachOrStart(command, options.listen);
  const warnings = formatProblems(command.loaded.warnings);
  if (warnings !== '') err(warnings);
  const log = createLog({ level: options.debug === true ? 'debug' : 'info' });
  const idle = options.detached === true ? new IdleTimer(DETACHED_IDLE_MS) : undefined;
  const start = options.detached === true ? startAfter : Host.start;
  const host = await start(command, {
    log,
    listen: options.listen,
    ...(idle === undefined ? {} : { onClients: (count: number) => idle.clients(count) }),
  });
  // Both before anybody is told that it is ready: who changes the file or sends a signal then must be heard.
  if (options.watch === true) watchFile(command, host);
  const stopped = untilStopped(host, log, idle);
  await host.gateway.settled();
  if (host.gateway.draining) return stopped;
  if (options.json === true) json(host.status());
  else out(renderStart(host.status(), command.mainPath, nextCommands(command)));
  return stopped;
}

/**
 * Starts as soon as no other gateway has the data folder. Who has it without taking clients is leaving: its last calls
 * may take long, and the client that started this one waits. Or it is starting for another client, and then this one ends.
 */
async function startAfter(command: CommandConfig, options: HostOptions): Promise<Host> {
  const socket = command.compiled.inbound.attachSocket;
  const until = performance.now() + LEAVING_MS;
  for (let told = false; ; told = true) {
    try {
      return await Host.start(command, options);
    } catch (error) {
      const taken =
        TollgateError.is(error) && [FOLDER_TAKEN, RUNS_ALREADY].some((text) => error.message.startsWith(text));
      if (!taken || socket === undefined || existsSync(socket) || performance.now() > until) throw error;
      if (!told) options.log.info({}, 'another gateway has the data folder and takes no clients: waiting for it');
      await sleep(LEAVING_LOOK_MS);
    }
  }
}

function nextCommands({ file, found }: CommandConfig): NextCommands {
  const config = relative(process.cwd(), file);
  return {
    program: programName(),
    config: found ? undefined : shellWord(config),
  };
}

/** Resolves with the exit code once the gateway has ended. */
function untilStopped(host: Host, log: ProcessLog, idle: IdleTimer | undefined): Promise<number> {
  return new Promise((resolve) => {
    let stopping = false;
    const stop = (why: string): void => {
      if (stopping) {
        // A second signal: somebody does not want to wait.
        log.warn({}, 'stopped at once, open calls are cut');
        log.flush();
        process.exit(Exit.failure);
      }
      stopping = true;
      idle?.stop();
      log.info({ why }, 'stopping: open calls may finish');
      host.stop().then(
        (clean) => {
          log.info({ clean }, 'stopped');
          log.flush();
          resolve(clean ? Exit.ok : Exit.failure);
        },
        (error: unknown) => {
          log.error({ err: error }, 'stopping failed');
          log.flush();
          resolve(Exit.failure);
        },
      );
    };
    process.on('SIGTERM', () => stop('SIGTERM'));
    process.on('SIGINT', () => stop('SIGINT'));
    process.on('SIGHUP', () => void host.reload().catch(alreadyLogged));
    idle?.start(() => stop('no stdio client for five minutes'));
    // Nothing may end the process but a signal: an unforeseen error is logged, and its call times out by itself.
    process.on('unhandledRejection', (error) => log.error({ err: error }, 'an error was not handled'));
    process.on('uncaughtException', (error) => log.error({ err: error }, 'an error was not handled'));
  });
}

/** Watches the folder, not the file: editors replace files, and a watch on the old inode would hear nothing. */
function watchFile(command: CommandConfig, host: Host): void {
  const name = basename(command.file);
  let timer: NodeJS.Timeout | undefined;
  const watcher = watch(dirname(command.file), (_event, changed) => {
    if (changed !== name) return;
    clearTimeout(timer);
    timer = setTimeout(() => void host.reload().catch(alreadyLogged), WATCH_SETTLE_MS);
  });
  watcher.on('error', (error) => err(`The configuration is no longer watched: ${error.message}`));
  watcher.unref();
}

/** The host logs why a reload was refused and shows it in `status`. */
function alreadyLogged(error: unknown): void {
  TollgateError.from(error);
}

class IdleTimer {
  readonly #ms: number;
  #timer: NodeJS.Timeout | undefined;
  #expired: (() => void) | undefined;
  #count = 0;

  constructor(ms: number) {
    this.#ms = ms;
  }

  start(expired: () => void): void {
    this.#expired = expired;
    this.clients(this.#count);
  }

  /** A timer that still ran would keep the stopped process alive. */
  stop(): void {
    this.#expired = undefined;
    clearTimeout(this.#timer);
  }

  clients(count: number): void {
    this.#count = count;
    clearTimeout(this.#timer);
    if (count === 0 && this.#expired !== undefined) this.#timer = setTimeout(this.#expired, this.#ms);
  }
}
