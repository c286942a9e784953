import type { Principal } from '../core/principal.ts';
import { BoundedMap } from './bounded-map.ts';
import type { AuthMethod } from './method.ts';

/** Ends of credentials under which they are remembered, and how many there may be under one: endpoints of a token, mostly. */
const MAX_ENDS = 8192;
const MAX_UNDER_ONE = 8;
/** Characters of an end: of a signature, or of a secret, so that strangers can choose none that meet. */
const END = 32;

/** One accepted credential on one endpoint. */
export class Remembered {
  readonly memory: CredentialMemory;
  readonly authorization: string;
  readonly endpoint: string;
  readonly principal: Principal;
  readonly validUntil: number;
  readonly method: AuthMethod;
  readonly revision: number;
  /** Another one with the same end: the same credential on other endpoints, or else another credential. */
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
 * Accepted credentials, compared by their whole text: a part of it, or a short digest, would let two tokens share an
 * identity (CVE-2026-35030). The end alone only leads to them, as hashing a text of a thousand characters costs more than
 * comparing it. One memory belongs to one configuration. Refused credentials are never kept: strangers make them.
 */
export class CredentialMemory {
  readonly #byEnd: BoundedMap<string, Remembered>;

  constructor(max = MAX_ENDS) {
    this.#byEnd = new BoundedMap(max);
  }

  get size(): number {
    return this.#byEnd.size;
  }

  find(authorization: string, endpoint: string): Remembered | undefined {
    let one = this.#byEnd.get(endOf(authorization));
    while (one !== undefined && (one.endpoint !== endpoint || one.authorization !== authorization)) one = one.next;
    return one;
  }

  add(one: Remembered): void {
    const end = endOf(one.authorization);
    let last = one;
    let length = 1;
    // Linked anew rather than extended: what is newer takes the place of what it replaces, and the chain stays short.
    for (let tail = this.#byEnd.get(end); tail !== undefined && length < MAX_UNDER_ONE; tail = tail.next) {
      if (tail.endpoint === one.endpoint && tail.authorization === one.authorization) continue;
      last.next = tail;
      last = tail;
      length++;
    }
    last.next = undefined;
    this.#byEnd.set(end, one);
  }
}

function endOf(authorization: string): string {
  return authorization.length > END ? authorization.slice(-END) : authorization;
}
