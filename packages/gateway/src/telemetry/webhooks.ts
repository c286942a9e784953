/**
 * Tells the operator's URLs of alerts. Behind everything else: a slow or dead receiver costs no call anything, and
 * what it missed is in the log.
 */
import { createHmac } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../core/log.ts';

export interface WebhookTarget {
  readonly url: string;
  /** Signs the body: `X-Tollgate-Signature: sha256=<hex of HMAC-SHA256>`; undefined: unsigned. */
  readonly secret: string | undefined;
}

/** Notices waiting for one receiver; beyond that the oldest is dropped and counted. */
const MAX_WAITING = 1000;
const TIMEOUT = 5_000;
/** Milliseconds before each further try. */
const RETRIES: readonly number[] = [1_000, 10_000];

interface Receiver {
  readonly target: WebhookTarget;
  readonly waiting: string[];
  running: boolean;
}

export class Webhooks {
  readonly #log: Log;
  readonly #retries: readonly number[];
  readonly #stop = new AbortController();
  #receivers: Receiver[] = [];
  /** Notices that no receiver got. */
  dropped = 0;

  constructor(log: Log, retries: readonly number[] = RETRIES) {
    this.#log = log;
    this.#retries = retries;
  }

  /** Sets who is told from now on; what waits for a receiver that stays is kept. */
  configure(targets: readonly WebhookTarget[]): void {
    this.#receivers = targets.map(
      (target) =>
        this.#receivers.find((one) => one.target.url === target.url && one.target.secret === target.secret) ?? {
          target,
          waiting: [],
          running: false,
        },
    );
  }

  /** Hands a notice to every receiver; returns at once. `type` names its kind, `data` must be fit for the operator. */
  tell(type: string, at: number, data: object): void {
    if (this.#receivers.length === 0 || this.#stop.signal.aborted) return;
    const body = JSON.stringify({ type, at: new Date(at).toISOString(), data });
    for (const receiver of this.#receivers) {
      if (receiver.waiting.length >= MAX_WAITING) {
        receiver.waiting.shift();
        this.dropped++;
      }
      receiver.waiting.push(body);
      if (!receiver.running) void this.#run(receiver);
    }
  }

  close(): void {
    this.#stop.abort();
  }

  async #run(receiver: Receiver): Promise<void> {
    receiver.running = true;
    // The turn that raised the alert does not pay for the first request.
    await Promise.resolve();
    for (let body = receiver.waiting.shift(); body !== undefined; body = receiver.waiting.shift()) {
      if (this.#stop.signal.aborted) break;
      await this.#deliver(receiver.target, body);
    }
    receiver.running = false;
  }

  async #deliver(target: WebhookTarget, body: string): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      const problem = await this.#post(target, body);
      if (problem === undefined || this.#stop.signal.aborted) return;
      const pause = this.#retries[attempt];
      if (pause === undefined) {
        this.dropped++;
        this.#log.warn({ host: hostOf(target.url), problem }, 'a webhook could not be told of an alert');
        return;
      }
      await sleep(pause, undefined, { signal: this.#stop.signal }).catch(() => undefined);
    }
  }

  /** Undefined: delivered. Paths and queries of webhook URLs are secrets, so no error text is passed on. */
  async #post({ url, secret }: WebhookTarget, body: string): Promise<string | undefined> {
    const headers: Record<string, string> = { 'content-type': 'application/json' };
    if (secret !== undefined) {
      headers['x-tollgate-signature'] = `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`;
    }
    try {
      const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(TIMEOUT)]);
      const response = await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal });
      await response.body?.cancel();
      return response.ok ? undefined : `status ${response.status}`;
    } catch (error) {
      return error instanceof Error ? error.name : 'failed';
    }
  }
}

function hostOf(url: string): string {
  return URL.parse(url)?.host ?? 'unknown';
}
