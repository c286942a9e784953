/** Legacy resource subscriptions of one connection, counted: several callers may watch one resource. */
import { TollgateError } from '../core/errors.ts';
import type { Connection } from '../protocol/peer.ts';
import type { ResourceSubscriptions } from './transport.ts';

/** Resources watched on one connection. */
const MAX_WATCHED = 10_000;

interface Watch {
  count: number;
  /** Settles when the server has accepted the subscription. */
  ready: Promise<void>;
}

export class Watches {
  readonly #byUri = new Map<string, Watch>();
  /** Of the connection that is open now. */
  #subscriptions: ResourceSubscriptions | undefined;

  get size(): number {
    return this.#byUri.size;
  }

  /** Resolves to the way to stop. Rejects with the server's own refusal. */
  async add(uri: string, subscriptions: ResourceSubscriptions): Promise<() => void> {
    this.#subscriptions = subscriptions;
    let watch = this.#byUri.get(uri);
    if (watch === undefined) {
      if (this.#byUri.size >= MAX_WATCHED) {
        throw new TollgateError('server_busy', `More than ${MAX_WATCHED} resources are watched on one connection`);
      }
      watch = { count: 0, ready: subscriptions.subscribe(uri) };
      this.#byUri.set(uri, watch);
    }
    const mine = watch;
    mine.count++;
    try {
      await mine.ready;
    } catch (error) {
      if (this.#byUri.get(uri) === mine) this.#byUri.delete(uri);
      throw error;
    }
    let stopped = false;
    return () => {
      if (stopped) return;
      stopped = true;
      if (--mine.count > 0 || this.#byUri.get(uri) !== mine) return;
      this.#byUri.delete(uri);
      this.#subscriptions?.unsubscribe(uri);
    };
  }

  /** On a new connection: subscribes again to all; tells of each that changes may have been missed. */
  renew(subscriptions: ResourceSubscriptions, missed: (uri: string) => void, failed: (error: unknown) => void): void {
    this.#subscriptions = subscriptions;
    for (const [uri, watch] of this.#byUri) {
      watch.ready = subscriptions.subscribe(uri);
      watch.ready.then(() => missed(uri), failed);
    }
  }

  /** The connection is gone. */
  suspend(): void {
    this.#subscriptions = undefined;
  }
}

export function offersSubscriptions({ capabilities }: Connection): boolean {
  const resources = capabilities['resources'];
  return (
    typeof resources === 'object' && resources !== null && 'subscribe' in resources && resources.subscribe === true
  );
}
