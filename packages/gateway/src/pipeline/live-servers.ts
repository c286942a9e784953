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
      if (server.view.pending > 0 && performance.now() < until) return;
      clearInterval(poll);
      server.close().catch((error: unknown) => {
        this.#log.warn({ err: error, server: server.name }, 'a removed server did not stop cleanly');
      });
    }, 100);
    poll.unref();
  }

  /** Hears nothing any more; whoever has the servers stops them. */
  close(): void {
    for (const unfollow of this.#unfollow.values()) unfollow();
  }
}
