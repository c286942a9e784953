/**
 * The link to a server that runs as a child process: one JSON message per line on its stdin and stdout
 * (MCP, stdio transport). The child is somebody else's program, so everything it can do wrong has a bound.
 */
import { stat } from 'node:fs/promises';
import { type Clock, systemClock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Lifetime } from '../core/lifetime.ts';
import type { Log } from '../core/log.ts';
import { childEnvironment, environmentHints } from './child-env.ts';
import { LineSplitter } from './lines.ts';
import type { Link, LinkListener } from './link.ts';
import type { StdioTarget } from './options.ts';
import { ProcessGroup } from './process-group.ts';
import { StderrTail, tellingLine } from './stderr-tail.ts';
import { Throttle } from './throttle.ts';
import { secretArguments } from './view.ts';

export interface StdioLinkOptions {
  readonly name: string;
  readonly target: StdioTarget;
  /** Bytes of one message of the child; a longer one fails its request. */
  readonly maxMessage: number;
  /** Values in its environment that are never shown, whatever their variables are called. */
  readonly secrets?: readonly string[] | undefined;
}

export interface StdioLinkDeps {
  readonly log: Log;
  readonly clock?: Clock;
  /** The gateway's own environment. Default `process.env`. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Milliseconds between the steps of a shutdown. Default 2000. */
  readonly grace?: number;
}

/** Input that a child may leave unread before further requests are refused. */
const MAX_UNREAD = 16 * 1024 * 1024;
/** How long output that is still in the pipe is waited for after the child has exited. */
const DRAIN_MS = 250;
/** Turns of the event loop that read what came meanwhile; what others write to the pipes after an exit could go on for ever. */
const DRAIN_TURNS = 20;
/** How long the exit is waited for after a pipe has ended. */
const EXIT_MS = 1000;
/** Noise on stdout is logged this often, then only counted. */
const LOGGED_NOISE = 10;
/** Bytes of such a line that are looked at. */
const LOGGED_BYTES = 8192;
/** Lines on stdout in a second before the child is held up; far more than any server has answers. Noise counts tenfold. */
const LINES_PER_SECOND = 50_000;
const NOISE_COSTS = 10;
/** Bytes on stderr in a second before the child is held up. */
const STDERR_PER_SECOND = 1024 * 1024;

/** Opens a link by starting the child. Rejects with `server_unavailable` when it cannot be started. */
export function openStdioLink(
  options: StdioLinkOptions,
  deps: StdioLinkDeps,
): (listener: LinkListener) => Promise<StdioLink> {
  return async (listener) => {
    const { target } = options;
    const environment = deps.environment ?? process.env;
    const env = childEnvironment(target.env, environment, process.platform);
    let group: ProcessGroup;
    try {
      group = ProcessGroup.spawn({ command: target.command, args: target.args, env, cwd: target.cwd });
    } catch (error) {
      // Invalid arguments (a NUL byte) throw instead of emitting.
      throw await startError(options, error);
    }
    const link = new StdioLink(options, deps, group, env, listener);
    await link.started();
    return link;
  };
}

export class StdioLink implements Link {
  readonly #options: StdioLinkOptions;
  readonly #log: Log;
  readonly #grace: number;
  readonly #group: ProcessGroup;
  readonly #env: Readonly<Record<string, string>>;
  readonly #environment: Readonly<Record<string, string | undefined>>;
  readonly #listener: LinkListener;
  readonly #stderr: StderrTail;
  readonly #stdout: LineSplitter;
  readonly #stdoutThrottle: Throttle;
  readonly #stderrThrottle: Throttle;
  readonly #started: Promise<void>;
  #messages = 0;
  #noise = 0;
  /** Bytes of both outputs. */
  #received = 0;
  #stdoutEnded = false;
  #stderrEnded = false;
  #exit: string | undefined;
  #closed = false;
  #closing: Promise<void> | undefined;

  constructor(
    options: StdioLinkOptions,
    deps: StdioLinkDeps,
    group: ProcessGroup,
    env: Readonly<Record<string, string>>,
    listener: LinkListener,
  ) {
    this.#options = options;
    this.#log = deps.log;
    this.#grace = deps.grace ?? 2000;
    this.#group = group;
    this.#env = env;
    this.#environment = deps.environment ?? process.env;
    this.#listener = listener;
    const clock = deps.clock ?? systemClock;
    this.#stderr = new StderrTail(deps.log, clock, secretValues(options));
    this.#stdout = new LineSplitter(options.maxMessage, {
      onLine: (line) => this.#onLine(line),
      onTooLong: (head, tail, length) => this.#onTooLong(head, tail, length),
      // Nothing of it can be understood before the line ends, so a new process is the only way on.
      onEndless: (length) => this.#gone(`wrote ${length} bytes without ending its message`),
    });
    const { child } = group;
    this.#stdoutThrottle = new Throttle(child.stdout, clock, LINES_PER_SECOND);
    this.#stderrThrottle = new Throttle(child.stderr, clock, STDERR_PER_SECOND);
    this.#started = new Promise((resolve, reject) => {
      child.once('spawn', resolve);
      child.on('error', (error) => {
        if (child.pid === undefined) {
          this.#closed = true;
          startError(options, error).then(reject, reject);
        } else this.#log.warn({ err: error }, 'The child process reported an error');
      });
    });
    child.on('exit', (code, signal) => this.#onExit(code, signal));
    // A broken pipe is the exit of the child seen from the other side; without a listener it would crash us.
    child.stdin.on('error', () => {});
    child.stdin.on('close', () => this.#deafOrMute('stopped reading its input'));
    child.stdout.on('error', () => {});
    child.stderr.on('error', () => {});
    child.stdout.on('data', (chunk: Buffer) => {
      this.#received += chunk.length;
      this.#stdout.push(chunk);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      this.#received += chunk.length;
      this.#stderrThrottle.spend(chunk.length);
      this.#stderr.push(chunk);
    });
    child.stdout.on('close', () => {
      this.#stdoutEnded = true;
      this.#stdout.end();
      this.#deafOrMute('closed its output');
      this.#settle();
    });
    child.stderr.on('close', () => {
      this.#stderrEnded = true;
      this.#stderr.end();
      this.#settle();
    });
  }

  /** Resolves once the process runs. */
  started(): Promise<void> {
    return this.#started;
  }

  get pid(): number | undefined {
    return this.#group.child.pid;
  }

  /** The last lines on stderr, oldest first. */
  get stderr(): readonly string[] {
    return this.#stderr.lines;
  }

  /** Lines on stdout that were not messages. */
  get noise(): number {
    return this.#noise;
  }

  sendRequest(bytes: Buffer, id: string, _lifetime: Lifetime): void {
    const refused = this.#write(bytes);
    if (refused !== undefined) this.#listener.onRequestFailed(id, refused);
  }

  async send(bytes: Buffer): Promise<void> {
    const refused = this.#write(bytes);
    if (refused !== undefined) throw refused;
  }

  negotiated(_version: string): void {}

  close(): Promise<void> {
    this.#closing ??= this.#group.stop(this.#grace);
    return this.#closing;
  }

  #write(bytes: Buffer): TollgateError | undefined {
    const { stdin } = this.#group.child;
    if (this.#exit !== undefined || this.#closing !== undefined || !stdin.writable) {
      return new TollgateError('server_unavailable', `Server "${this.#options.name}" is not running`);
    }
    if (stdin.writableLength > MAX_UNREAD) {
      return new TollgateError('server_busy', `Server "${this.#options.name}" does not read its input`);
    }
    // One write each: the newline must not be separable from the message by another write.
    const line = Buffer.allocUnsafe(bytes.length + 1);
    bytes.copy(line);
    // A strict message has raw line ends only between tokens, where a blank means the same; here they end the line.
    for (const lineEnd of [0x0a, 0x0d]) {
      for (let i = bytes.indexOf(lineEnd); i >= 0; i = bytes.indexOf(lineEnd, i + 1)) line[i] = 0x20;
    }
    line[bytes.length] = 0x0a;
    stdin.write(line);
    return undefined;
  }

  #onLine(line: Buffer): void {
    if (this.#closed) return;
    let first = 0;
    while (line[first] === 0x20 || line[first] === 0x09) first++;
    if (line[first] !== 0x7b) {
      this.#stdoutThrottle.spend(NOISE_COSTS);
      // Legacy servers print banners to stdout; it is against the specification and common.
      if (++this.#noise <= LOGGED_NOISE) {
        this.#log.warn(
          { stream: 'stdout', line: this.#stderr.shown(line.toString('utf8', 0, LOGGED_BYTES)) },
          'A line on stdout is not a message; servers must write such text to stderr',
        );
      }
      return;
    }
    this.#messages++;
    this.#stdoutThrottle.spend(1);
    this.#listener.onMessage(line, undefined);
  }

  #onTooLong(head: Buffer, tail: Buffer, length: number): void {
    if (this.#closed) return;
    const id =
      /^\s*\{(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d{1,15})\s*,/.exec(head.toString('latin1'))?.[1] ??
      /,\s*"id"\s*:\s*(\d{1,15})\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$/.exec(tail.toString('latin1'))?.[1];
    this.#messages++;
    this.#log.warn({ bytes: length, max: this.#options.maxMessage }, 'A message on stdout exceeds the cap');
    this.#listener.onRequestFailed(
      id ?? '',
      new TollgateError(
        'server_response_too_large',
        `The answer of server "${this.#options.name}" has ${length} bytes; caps.response allows ${this.#options.maxMessage}`,
        { executed: 'unknown' },
      ),
    );
  }

  /** A pipe ended. It mostly precedes an exit; a child that lives on without it can serve nobody and is ended. */
  #deafOrMute(how: string): void {
    if (this.#exit !== undefined || this.#closing !== undefined) return;
    const late = (): void => {
      if (this.#exit !== undefined || this.#closing !== undefined) return;
      this.#gone(how);
    };
    // After a busy moment timers come before the news of the exit.
    setTimeout(() => setImmediate(late), EXIT_MS);
  }

  #onExit(code: number | null, signal: NodeJS.Signals | null): void {
    this.#stdoutThrottle.release();
    this.#stderrThrottle.release();
    if (this.#exit === undefined) this.#gone(signal === null ? `exited with code ${code}` : `was ended by ${signal}`);
  }

  #gone(how: string): void {
    if (this.#exit !== undefined) return;
    this.#exit = how;
    // What it forked must not live on, nor hold its pipes open.
    if (this.#closing === undefined) this.#closing = this.#group.terminate(this.#grace);
    setTimeout(() => this.#drain(-1, DRAIN_TURNS), DRAIN_MS);
    this.#settle();
  }

  /** After a busy moment timers come before what is in the pipes: the last answers would be lost, and the last words. */
  #drain(before: number, turns: number): void {
    const received = this.#received;
    if (received !== before && turns > 0) {
      setImmediate(() => this.#drain(received, turns - 1));
      return;
    }
    this.#stdoutEnded = true;
    this.#stderrEnded = true;
    this.#settle();
  }

  /** The link is gone once the child has exited and all it wrote is read. */
  #settle(): void {
    if (this.#closed || this.#exit === undefined || !this.#stdoutEnded || !this.#stderrEnded) return;
    this.#closed = true;
    this.#listener.onClose(this.#deathError(this.#exit));
  }

  #deathError(how: string): TollgateError {
    const { name, target } = this.#options;
    const atStart = this.#messages === 0;
    const last = tellingLine(this.#stderr.lines);
    const parts = [`Server "${name}" ${how}${atStart ? ' before it answered' : ''}.`];
    if (last !== undefined) parts.push(`On stderr: ${last}`);
    if (atStart) parts.push(...environmentHints(this.#stderr.lines, target.args, this.#env, this.#environment));
    return new TollgateError(atStart ? 'server_unavailable' : 'server_disconnected', parts.join(' '));
  }
}

async function startError(options: StdioLinkOptions, cause: unknown): Promise<TollgateError> {
  const { name, target } = options;
  const code = (cause as NodeJS.ErrnoException).code;
  const folder = await stat(target.cwd).catch(() => undefined);
  let why: string;
  // A missing working folder is reported as ENOENT too, and then the command looks like the culprit.
  if (folder === undefined || !folder.isDirectory()) {
    why = `its folder ${target.cwd} does not exist. Correct servers.${name}.cwd.`;
  } else if (code === 'ENOENT') {
    const has = target.command.includes('/') || target.command.includes('\\');
    why = has
      ? `there is no program ${target.command}. Correct servers.${name}.command.`
      : `the command "${target.command}" is not on the PATH. Install it, or write its full path in servers.${name}.command.`;
  } else if (code === 'EACCES') {
    why = `${target.command} is not executable. Run chmod +x on it, or correct servers.${name}.command.`;
  } else {
    why = `the system refused to start ${target.command} (${code ?? 'unknown error'}).`;
  }
  return new TollgateError('server_unavailable', `Server "${name}" could not be started: ${why}`, { cause });
}

const SECRET_NAME = /key|token|secret|pass|pwd|auth|credential|cookie|session|private|dsn|url|uri/i;

/** Declared values that a child might print and nobody may read in a log. Short ones would mask ordinary words. */
function secretValues({ target: { env, args }, secrets = [] }: StdioLinkOptions): string[] {
  const values = [...secretArguments(args), ...secrets];
  for (const [name, value] of Object.entries(env)) if (SECRET_NAME.test(name)) values.push(value);
  // The longest first: one may hold another.
  return values.filter((value) => value.length >= 6).toSorted((a, b) => b.length - a.length);
}
