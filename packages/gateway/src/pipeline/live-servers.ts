import type { Log } from '../core/log.ts';
import type { Server } from '../protocol/peer.ts';
import type { SubscriptionHub } from './subscriptions.ts';

/** Milliseconds that servers taken out by a reload keep for the calls they still have. */
const RETIRE_MS = 30_000;

/** The servers of the configuration in force: what they tell goes to the subscribers, what is taken out ends in time. */
export class LiveServers {
  readonly #hub: SubscriptionHub;
  readonly #log: Log;
  readonly #unfollow = new Map<Server, () => void>();
  /** Taken out and not stopped yet. */
  readonly #leaving = new Map<Server, NodeJS.Timeout>();

  constructor(hub: SubscriptionHub, log: Log) {
    this.#hub = hub;
    this.#log = log;
  }

  /** Hears those that it did not hear yet. */
  adopt(servers: Iterable<Server>): void {
    for (const server of servers) {
      if (this.#unfollow.has(server)) continue;
      this.#unfollow.set(
        server,
        server.onEvent((event) => this.#hub.serverEvent(server, event)),
      );
    }
  }

  /** Stops a server when its calls are done, at the latest after half a minute. */
  retire(server: Server): void {
    this.#unfollow.get(server)?.();
    this.#unfollow.delete(server);
    const until = performance.now() + RETIRE_MS;
    const poll = setInterval(() => {
      if (server.view.pending === 0 || performance.now() >= until) void this.#stop(server);
    }, 100);
    poll.unref();
    this.#leaving.set(server, poll);
  }

  /** Hears nothing any more, and stops what was taken out; whoever has the others stops them. */
  async close(): Promise<void> {
    for (const unfollow of this.#unfollow.values()) unfollow();
    await Promise.all([...this.#leaving.keys()].map((server) => this.#stop(server)));
  }

  async #stop(server: Server): Promise<void> {
    clearInterval(this.#leaving.get(server));
    this.#leaving.delete(server);
    try {
      await server.close();
    } catch (error) {
      this.#log.warn({ err: error, server: server.name }, 'a removed server did not stop cleanly');
    }
  }
}
