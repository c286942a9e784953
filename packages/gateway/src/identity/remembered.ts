import type { Principal } from '../core/principal.ts';
import { BoundedMap } from './bounded-map.ts';
import type { AuthMethod } from './method.ts';

/** Credentials remembered; each on at most so many endpoints. */
const MAX_CREDENTIALS = 8192;
const MAX_ENDPOINTS = 8;

/** One accepted credential on one endpoint. */
export class Remembered {
  readonly memory: CredentialMemory;
  readonly authorization: string;
  readonly endpoint: string;
  readonly principal: Principal;
  readonly validUntil: number;
  readonly method: AuthMethod;
  readonly revision: number;
  /** The same credential on other endpoints. */
  next: Remembered | undefined;

  constructor(
    memory: CredentialMemory,
    authorization: string,
    endpoint: string,
    principal: Principal,
    validUntil: number,
    method: AuthMethod,
    revision: number,
  ) {
    this.memory = memory;
    this.authorization = authorization;
    this.endpoint = endpoint;
    this.principal = principal;
    this.validUntil = validUntil;
    this.method = method;
    this.revision = revision;
    this.next = undefined;
  }
}

/**
 * Accepted credentials by their whole text: a part of it, or a short digest, would let two tokens share an identity
 * (CVE-2026-35030). One memory belongs to one configuration. Refused credentials are never kept: strangers make them.
 */
export class CredentialMemory {
  readonly #byText: BoundedMap<string, Remembered>;

  constructor(max = MAX_CREDENTIALS) {
    this.#byText = new BoundedMap(max);
  }

  get size(): number {
    return this.#byText.size;
  }

  find(authorization: string, endpoint: string): Remembered | undefined {
    let one = this.#byText.get(authorization);
    while (one !== undefined && one.endpoint !== endpoint) one = one.next;
    return one;
  }

  add(one: Remembered): void {
    let tail = this.#byText.get(one.authorization);
    let last = one;
    // Rebuilt rather than extended: the same endpoint gives way to what is newer, and the chain stays short.
    for (let length = 1; tail !== undefined && length < MAX_ENDPOINTS; tail = tail.next) {
      if (tail.endpoint === one.endpoint) continue;
      last.next = tail;
      last = tail;
      length++;
    }
    last.next = undefined;
    this.#byText.set(one.authorization, one);
  }
}
