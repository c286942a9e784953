/**
 * Links to the page on which a caller connects an account. The link says who it was made for, sealed. It is redeemed by
 * the code that is shown beside it, in the caller's own client, or used up by whoever proved to be the caller. Whoever
 * only has the link can do nothing with it, and nobody connects an account for anybody but that caller.
 */
import { createHash, hkdfSync, randomBytes, randomInt, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import { keepNewest } from '../core/keep-newest.ts';
import { StateSeal } from '../protocol/bridge/seal.ts';

export const LINK_LIFE = 10 * 60_000;
/** A link with less left is not given again. */
const WORTH_GIVING = 3 * 60_000;
const MAX_KEPT = 10_000;
const MAX_ATTEMPTS = 5;
/** Without letters that look like digits. */
const ALPHABET = 'ABCDEFGHJKLMNPQRSTUVWXYZ23456789';

export interface Link {
  readonly id: string;
  readonly url: string;
  /** `ABCD-EFGH`. */
  readonly code: string;
  readonly expires: number;
}

/** As a client shows it. Undefined code: the page finds out by itself who is there. */
export interface ShownLink extends Omit<Link, 'code'> {
  readonly code: string | undefined;
}

export interface OpenedLink {
  readonly id: string;
  readonly principal: string;
  readonly server: string;
  readonly expires: number;
  /** SHA-256 of the code with the id. */
  readonly digest: string;
}

/** A key for one purpose, out of the one that all gateways of a storage share. */
export function keyFor(purpose: string, key: Buffer | undefined): Buffer {
  return Buffer.from(hkdfSync('sha256', key ?? randomBytes(32), '', `tollgate accounts ${purpose}`, 32));
}

export class Links {
  readonly #clock: Clock;
  readonly #base: () => string;
  readonly #seal: StateSeal<OpenedLink>;
  /** By principal and server: a client that asks again and again is shown the same link. */
  readonly #given = new Map<string, Link>();
  /** Links that were tried or used, until they end. */
  readonly #tried = new Map<string, { attempts: number; used: boolean; readonly expires: number }>();

  constructor(clock: Clock, base: () => string, key: Buffer | undefined) {
    this.#clock = clock;
    this.#base = base;
    this.#seal = new StateSeal({ prefix: 'tgl1.', maxLength: 4096, key: keyFor('link', key) });
  }

  /** The link for a caller to a server; the one that is out already while it is worth it. */
  for(principal: string, server: string): Link {
    const now = this.#clock.wall();
    const place = `${principal}\n${server}`;
    const known = this.#given.get(place);
    if (known !== undefined && known.expires - now > WORTH_GIVING && this.#tried.get(known.id) === undefined)
      return known;
    const id = randomBytes(16).toString('base64url');
    const code = `${letters()}-${letters()}`;
    const expires = now + LINK_LIFE;
    const handle = this.#seal.seal({ id, principal, server, expires, digest: digestOf(id, code) });
    const link = { id, code, expires, url: `${this.#base()}/connect/${encodeURIComponent(server)}?link=${handle}` };
    this.#given.delete(place);
    this.#given.set(place, link);
    keepNewest(this.#given, MAX_KEPT);
    return link;
  }

  /** What a link says; undefined: it is none of ours, is over, or it was used or tried too often. */
  open(handle: string, server: string): OpenedLink | undefined {
    const link = this.#seal.open(handle, this.#clock.wall());
    if (link === undefined || link.server !== server) return undefined;
    const tried = this.#tried.get(link.id);
    return tried !== undefined && (tried.used || tried.attempts >= MAX_ATTEMPTS) ? undefined : link;
  }

  /** Uses the link up. False: that was not its code. */
  redeem(link: OpenedLink, code: string): boolean {
    const tried = this.#try(link);
    const given = code.toUpperCase().replace(/[^A-Z0-9]/g, '');
    const spelled = `${given.slice(0, 4)}-${given.slice(4)}`;
    if (tried.used || tried.attempts > MAX_ATTEMPTS) return false;
    tried.used = timingSafeEqual(Buffer.from(digestOf(link.id, spelled)), Buffer.from(link.digest));
    return tried.used;
  }

  /** Counts somebody who leaves to prove who they are. False: too many have, or it is used up. */
  leave(link: OpenedLink): boolean {
    const tried = this.#try(link);
    return !tried.used && tried.attempts <= MAX_ATTEMPTS;
  }

  /** Uses a link up, whatever comes of it. False: it was before. */
  spend(link: Pick<OpenedLink, 'id' | 'expires'>): boolean {
    const tried = this.#try(link);
    if (tried.used) return false;
    tried.used = true;
    return true;
  }

  #try({ id, expires }: Pick<OpenedLink, 'id' | 'expires'>) {
    const tried = this.#tried.get(id) ?? { attempts: 0, used: false, expires };
    this.#tried.set(id, tried);
    keepNewest(this.#tried, MAX_KEPT);
    tried.attempts++;
    return tried;
  }
}

function letters(): string {
  return Array.from({ length: 4 }, () => ALPHABET[randomInt(ALPHABET.length)]).join('');
}

function digestOf(id: string, code: string): string {
  return createHash('sha256').update(`${id}:${code}`).digest('hex');
}
