/**
 * A child process in a process group of its own, so that what it forks ends with it: package runners (`npx`, `uvx`)
 * start the real server as a grandchild.
 */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';

const WINDOWS = process.platform === 'win32';

/** Groups that still may have members. On exit of the gateway they are killed at once: nothing can wait any more. */
const live = new Set<ProcessGroup>();
let watching = false;

function killAll(): void {
  for (const group of live) group.signal('SIGKILL');
}

export interface SpawnOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
}

export class ProcessGroup {
  readonly child: ChildProcessWithoutNullStreams;
  #gone = false;

  /** Spawns without a shell. A failure to start arrives as the child's `error` event, never as an exception. */
  static spawn(options: SpawnOptions): ProcessGroup {
    if (!watching) {
      watching = true;
      process.on('exit', killAll);
    }
    return new ProcessGroup(
      spawn(options.command, options.args, {
        cwd: options.cwd,
        env: { ...options.env },
        stdio: 'pipe',
        shell: false,
        // setsid: the child's pid becomes the id of a new group.
        detached: !WINDOWS,
        windowsHide: true,
      }),
    );
  }

  constructor(child: ChildProcessWithoutNullStreams) {
    this.child = child;
    if (child.pid !== undefined) live.add(this);
  }

  /** True while the group has a member. Once false it stays false: the id may then belong to somebody else. */
  get alive(): boolean {
    if (this.#gone || this.child.pid === undefined) return false;
    const alive = WINDOWS ? !this.#exited : exists(-this.child.pid);
    if (!alive) this.#forget();
    return alive;
  }

  /** Sends a signal to every member; false when there is none left. */
  signal(name: 'SIGTERM' | 'SIGKILL'): boolean {
    const pid = this.child.pid;
    if (this.#gone || pid === undefined) return false;
    try {
      if (WINDOWS) spawnSync('taskkill', ['/pid', String(pid), '/T', '/F'], { windowsHide: true });
      else process.kill(-pid, name);
      return true;
    } catch {
      this.#forget();
      return false;
    }
  }

  /**
   * Waits until the child has exited and its group is empty, at most `ms`. Members are not our children, so
   * the group can only be polled.
   */
  async ended(ms: number): Promise<boolean> {
    const deadline = performance.now() + ms;
    while (this.alive) {
      const left = deadline - performance.now();
      if (left <= 0) return false;
      await pause(Math.min(left, 20));
    }
    return true;
  }

  /**
   * Ends the group: end of input, after `grace` ms SIGTERM, after another `grace` ms SIGKILL (the stdio shutdown of
   * MCP 2025-11-25, Lifecycle). Resolves within about `2 * grace + 1 s`.
   */
  async stop(grace: number): Promise<void> {
    this.child.stdin.end();
    if (await this.ended(grace)) return;
    await this.terminate(grace);
  }

  /** SIGTERM, then SIGKILL after `grace` ms. */
  async terminate(grace: number): Promise<void> {
    this.signal('SIGTERM');
    if (await this.ended(grace)) return;
    this.signal('SIGKILL');
    // Nothing survives that, but a zombie that nobody reaps counts as a member for ever: wait for our child alone.
    const deadline = performance.now() + 1000;
    while (!this.#exited && performance.now() < deadline) await pause(5);
    this.#forget();
  }

  get #exited(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  #forget(): void {
    this.#gone = true;
    live.delete(this);
  }
}

function exists(target: number): boolean {
  try {
    process.kill(target, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
