/** The public keys of an issuer: fetched, kept, renewed, and found by the id that a token names. */
import { type CryptoKey, createLocalJWKSet, errors, type JSONWebKeySet } from 'jose';
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/log.ts';
import type { MethodView } from './method.ts';

/** Keys of one issuer. */
const MAX_KEYS = 100;
/** Milliseconds after which a set is fetched again, and for which it goes on being used while its issuer is away. */
const REFRESH = 10 * 60_000;
const MAX_STALE = 24 * 60 * 60_000;
/** A key id that nobody knows makes the set be fetched again at most once in so many milliseconds. */
const UNKNOWN_KEY_PAUSE = 60_000;
/**
 * Tokens that may wait for a fetch at a time. Strangers can make up any number of key ids, and an issuer that hangs would
 * let them take all places of verification, those of other issuers and of keys that are here included.
 */
const MAX_WAITING = 256;
/** Waits between attempts while the issuer is away; the last one is repeated. */
const RETRY = [1000, 2000, 5000, 10_000, 20_000];

export interface KeyHeader {
  readonly alg: string;
  readonly kid?: string;
}

export interface KeySetDeps {
  readonly entry: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Gets the set as it is now, bounded in size and time. */
  readonly load: () => Promise<unknown>;
}

export class KeySet {
  /** Changes with the keys. */
  revision = 0;
  readonly #deps: KeySetDeps;
  #find: ReturnType<typeof createLocalJWKSet> | undefined;
  #text = '';
  #count = 0;
  #loadedAt = 0;
  #loading: Promise<void> | undefined;
  #failures = 0;
  #problem: string | undefined;
  #askedForUnknown = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #waiting = 0;
  #closed = false;

  constructor(deps: KeySetDeps) {
    this.#deps = deps;
    void this.#load();
  }

  get view(): MethodView {
    const { entry } = this.#deps;
    const has = this.#find !== undefined && !this.#tooOld;
    const state = has
      ? this.#problem === undefined
        ? 'ready'
        : 'stale'
      : this.#problem === undefined
        ? 'waiting'
        : 'failing';
    return { entry, state, problem: this.#problem, keys: has ? this.#count : 0 };
  }

  /**
   * The one key that a header names. Undefined: there is none, and the set was not fetched again for a made-up id more
   * often than once a minute, whoever sends how many. `unavailable`: there are no keys at all, or too many wait for them.
   */
  async get(header: KeyHeader): Promise<CryptoKey | 'unavailable' | undefined> {
    if (this.#find === undefined && this.#loading !== undefined && !(await this.#loaded())) return 'unavailable';
    if (this.#find === undefined || this.#tooOld) return 'unavailable';
    const known = await this.#lookUp(header);
    if (known !== undefined) return known;
    const now = this.#deps.clock.monotonic();
    if (this.#loading === undefined) {
      if (now - this.#askedForUnknown < UNKNOWN_KEY_PAUSE) return undefined;
      this.#askedForUnknown = now;
    }
    return (await this.#loaded()) ? await this.#lookUp(header) : 'unavailable';
  }

  /** When the fetch that is under way, or a new one, has ended. False: too many wait for it already. */
  async #loaded(): Promise<boolean> {
    if (this.#waiting >= MAX_WAITING) return false;
    this.#waiting++;
    await this.#load();
    this.#waiting--;
    return true;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  get #tooOld(): boolean {
    return this.#deps.clock.monotonic() - this.#loadedAt > MAX_STALE;
  }

  async #lookUp(header: KeyHeader): Promise<CryptoKey | undefined> {
    try {
      return await this.#find?.({ ...header });
    } catch (error) {
      if (!(error instanceof errors.JOSEError)) {
        this.#deps.log.warn({ err: error, entry: this.#deps.entry }, 'a key of an issuer cannot be used');
      }
      return undefined;
    }
  }

  #load(): Promise<void> {
    this.#loading ??= this.#attempt().finally(() => {
      this.#loading = undefined;
    });
    return this.#loading;
  }

  async #attempt(): Promise<void> {
    const { load, clock, log, entry } = this.#deps;
    clearTimeout(this.#timer);
    try {
      this.#take(await load());
      this.#loadedAt = clock.monotonic();
      if (this.#failures > 0) log.info({ entry, keys: this.#count }, 'the keys of an issuer are here again');
      this.#failures = 0;
      this.#problem = undefined;
    } catch (error) {
      this.#failures++;
      this.#problem = error instanceof Error ? error.message : 'the keys cannot be read';
      const fields = { entry, err: error, failures: this.#failures };
      // Once for each time it goes away; `status` shows it for as long as it is.
      if (this.#failures === 1) log.warn(fields, 'the keys of an issuer could not be fetched');
      else log.debug(fields, 'the keys of an issuer could not be fetched');
    }
    if (this.#closed) return;
    const wait = this.#failures === 0 ? REFRESH : RETRY[Math.min(this.#failures, RETRY.length) - 1]!;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#load(), wait).unref();
  }

  #take(set: unknown): void {
    const text = JSON.stringify(set);
    if (text === this.#text && this.#find !== undefined) return;
    const { keys } = readKeySet(set);
    this.#find = createLocalJWKSet({ keys } as unknown as JSONWebKeySet);
    this.#count = keys.length;
    this.#text = text;
    this.revision++;
  }
}

/** Checks the form of a JWK set. Throws an Error that says what is wrong. */
export function readKeySet(set: unknown): { readonly keys: readonly Record<string, unknown>[] } {
  const keys = typeof set === 'object' && set !== null && 'keys' in set ? set.keys : undefined;
  if (!Array.isArray(keys)) throw new Error('no JWK set: an object with a list `keys` is expected');
  if (keys.length > MAX_KEYS) throw new Error(`the JWK set has more than ${MAX_KEYS} keys`);
  const usable = keys.filter((key: unknown): key is Record<string, unknown> => {
    // A shared secret in a set that anybody can read is none; and nothing of ours signs, so no private key is taken.
    return typeof key === 'object' && key !== null && 'kty' in key && key.kty !== 'oct' && !('d' in key);
  });
  if (usable.length === 0) throw new Error('the JWK set has no public key');
  return { keys: usable };
}
