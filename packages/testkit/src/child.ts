import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { canaryIn } from './canaries.ts';
import { descendantsOf, type ProcessEntry, survivors } from './process-table.ts';
import { waitUntil } from './wait.ts';

export interface ChildOptions {
  readonly cwd?: string;
  /** Added to a minimal environment (PATH, HOME, TMPDIR, NODE_ENV=test, a cache of compiled code); undefined removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Written to standard input and closed; without it standard input stays open for `write`. */
  readonly input?: string;
  readonly uid?: number;
  readonly gid?: number;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/**
 * A real program under test, in its own process group. Its output is kept (the last 4 MiB of each stream), real
 * signals reach it, and disposal ends the whole tree; nothing it started is left behind. Disposal rejects when it printed a
 * secret that `canary` made.
 */
export interface Child extends AsyncDisposable {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  stdout(): string;
  stderr(): string;
  /** What happened so far in one text, for failure messages. */
  transcript(): string;
  write(text: string): void;
  endInput(): void;
  signal(signal: NodeJS.Signals): void;
  /** First match of `pattern` in stdout or stderr; rejects with the transcript when the child ends or time is up. */
  waitFor(pattern: RegExp, timeout?: number): Promise<RegExpExecArray>;
  /** Sends `signal` (default SIGTERM), waits for the end; after `grace` ms (default 30 s) kills and rejects. */
  stop(signal?: NodeJS.Signals, grace?: number): Promise<Exit>;
  /** Processes it started, directly or not, that run now. */
  descendants(): ProcessEntry[];
}

const KEEP = 4 * 1024 * 1024;
const CODE_CACHE = resolve(import.meta.dirname, '../../../node_modules/.cache/tollgate-tests');

class Transcript {
  text = '';
  /** Characters so far, those beyond `KEEP` too. */
  length = 0;
  add(chunk: string): void {
    this.length += chunk.length;
    this.text += chunk;
    if (this.text.length > KEEP) this.text = this.text.slice(-KEEP);
  }
}

/** Process groups that must not outlive this process, however it ends (short of SIGKILL). */
const groups = new Set<number>();
let guarded = false;

function endGroups(): void {
  for (const pid of groups) {
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // The group is empty.
    }
  }
}

/** A test run that is interrupted leaves through here; a program with handlers of its own is left to them. */
function guardGroups(): void {
  if (guarded) return;
  guarded = true;
  process.on('exit', endGroups);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    if (process.listenerCount(signal) > 0) continue;
    process.once(signal, () => {
      endGroups();
      process.kill(process.pid, signal);
    });
  }
}

/** Starts `command`; rejects when it cannot be started at all. */
export async function startChild(command: string, args: readonly string[], options: ChildOptions = {}): Promise<Child> {
  const env: Record<string, string> = {};
  const base = {
    PATH: process.env['PATH'],
    HOME: process.env['HOME'],
    TMPDIR: process.env['TMPDIR'],
    NODE_ENV: 'test',
    // Compiled code of all programs of all tests: a start with it takes a third of the time of one without.
    NODE_COMPILE_CACHE: CODE_CACHE,
  };
  for (const [key, value] of Object.entries({ ...base, ...options.env })) if (value !== undefined) env[key] = value;
  const child = spawn(command, args, {
    detached: true,
    env,
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.uid === undefined ? {} : { uid: options.uid }),
    ...(options.gid === undefined ? {} : { gid: options.gid }),
  });
  guardGroups();
  await once(child, 'spawn');
  groups.add(child.pid as number);
  return track(child, [command, ...args].join(' '), options.input);
}

function track(child: ChildProcess, title: string, input: string | undefined): Child {
  const pid = child.pid as number;
  const out = new Transcript();
  const err = new Transcript();
  let ended: Exit | undefined;
  const exited = new Promise<Exit>((resolve) => {
    const end = (code: number | null, signal: NodeJS.Signals | null): void => {
      ended ??= { code, signal };
      resolve(ended);
    };
    child.once('close', end);
    // A grandchild that holds the pipes open would delay `close` for ever. The child's own last words are in the pipes
    // when it exits; a timer alone would fire before they are read when this process was busy.
    const drain = (read: number, ...exit: [code: number | null, signal: NodeJS.Signals | null]): void => {
      const now = out.length + err.length;
      if (now === read) end(...exit);
      else setImmediate(drain, now, ...exit);
    };
    child.once('exit', (code, signal) => setTimeout(drain, 500, -1, code, signal).unref());
  });
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => out.add(chunk));
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => err.add(chunk));
  child.on('error', (error) => err.add(`\n[error] ${error.message}\n`));
  child.stdin?.on('error', () => {});
  if (input !== undefined) child.stdin?.end(input);

  const transcript = (): string =>
    `$ ${title}\n--- stdout\n${out.text}\n--- stderr\n${err.text}\n--- ${ended === undefined ? 'running' : `ended ${ended.code ?? ended.signal}`}`;
  const killGroup = (signal: NodeJS.Signals): void => {
    try {
      process.kill(-pid, signal);
    } catch {
      // The group is empty.
    }
  };
  const handle: Child = {
    pid,
    exited,
    stdout: () => out.text,
    stderr: () => err.text,
    transcript,
    write: (text) => void child.stdin?.write(text),
    endInput: () => void child.stdin?.end(),
    signal: (signal) => void child.kill(signal),
    descendants: () => descendantsOf(pid),
    waitFor: (pattern, timeout = 30_000) =>
      waitUntil(
        `${pattern}\n${transcript()}`,
        () => {
          const match = pattern.exec(out.text) ?? pattern.exec(err.text);
          if (match === null && ended !== undefined) throw new Error(`Ended before ${pattern}\n${transcript()}`);
          return match;
        },
        { timeout },
      ).catch((error: unknown) => {
        throw new Error(`${(error as Error).message.split('\n')[0]}\n${transcript()}`);
      }),
    stop: async (signal = 'SIGTERM', grace = 30_000) => {
      if (ended === undefined) child.kill(signal);
      const timer = setTimeout(() => killGroup('SIGKILL'), grace);
      const exit = await exited;
      clearTimeout(timer);
      if (exit.signal === 'SIGKILL' && signal !== 'SIGKILL') {
        throw new Error(`Did not end within ${grace} ms of ${signal}\n${transcript()}`);
      }
      return exit;
    },
    [Symbol.asyncDispose]: async () => {
      const left = ended === undefined ? descendantsOf(pid) : [];
      if (ended === undefined) child.kill('SIGTERM');
      const timer = setTimeout(() => killGroup('SIGKILL'), 5_000);
      await exited;
      clearTimeout(timer);
      killGroup('SIGKILL');
      groups.delete(pid);
      for (const orphan of survivors(left)) {
        try {
          process.kill(orphan.pid, 'SIGKILL');
        } catch {
          // Ended meanwhile.
        }
      }
      const shown = canaryIn(out.text) ?? canaryIn(err.text);
      if (shown !== undefined) throw new Error(`A secret of the tests was printed by ${title}\n${shown}`);
    },
  };
  return handle;
}

/**
 * Fails unless every process of `before` (from `Child.descendants()`) is gone within `timeout` milliseconds
 * (default 20 000); names those that are left.
 */
export async function expectNoSurvivors(before: readonly ProcessEntry[], timeout = 20_000): Promise<void> {
  await waitUntil('the end of all child processes', () => survivors(before).length === 0, { timeout }).catch(() => {
    const left = survivors(before).map((entry) => `${entry.pid} ${entry.command}`);
    throw new Error(`Left running: ${left.join('; ')}`);
  });
}
