/**
 * Who is at the other end, where proxies stand between. Anybody can write `X-Forwarded-*`; only what a configured proxy
 * wrote counts, and of that only what it saw itself: the right-most hop that is not one of the proxies.
 */
import { BlockList, isIP } from 'node:net';
import type { RequestHead } from './request-head.ts';

/** More hops than any network has; beyond them somebody plays. */
const MAX_HOPS = 32;

export class Proxies {
  readonly #trusted: readonly [BlockList, BlockList] | undefined;

  /** Addresses and networks as `10.0.0.0/8`; none: the forwarding headers mean nothing. */
  constructor(networks: readonly string[]) {
    if (networks.length === 0) return;
    const lists = [new BlockList(), new BlockList()] as const;
    for (const network of networks) {
      const [address = '', prefix] = network.split('/');
      const six = isIP(address) === 6;
      const list = lists[six ? 1 : 0];
      if (prefix === undefined) list.addAddress(address, six ? 'ipv6' : 'ipv4');
      else list.addSubnet(address, Number(prefix), six ? 'ipv6' : 'ipv4');
    }
    this.#trusted = lists;
  }

  /**
   * Settles who sent the request: sets `address`, and `host` and `secure` as a trusted proxy tells them. `peer` is the
   * address of the socket.
   */
  settle(head: RequestHead, peer: string | undefined, encrypted: boolean): void {
    head.address = peer;
    head.secure = encrypted;
    if (this.#trusted === undefined || !this.#trusts(peer)) return;
    head.address = this.#client(peer!, head.forwardedFor);
    // Each proxy may have added one: the last is of the proxy that we know.
    const host = last(head.forwardedHost);
    if (host !== undefined) head.host = host;
    const scheme = last(head.forwardedProto);
    if (scheme !== undefined) head.secure = scheme.toLowerCase() === 'https';
  }

  #client(peer: string, forwarded: string | undefined): string {
    const hops = forwarded?.split(',') ?? [];
    let client = peer;
    for (let i = hops.length - 1, seen = 0; i >= 0 && seen < MAX_HOPS; i--, seen++) {
      const hop = addressOf(hops[i]!.trim());
      // What is no address was not written by a proxy that works: whoever is left of it is made up.
      if (hop === undefined) return client;
      client = hop;
      if (!this.#trusts(hop)) return client;
    }
    return client;
  }

  #trusts(address: string | undefined): boolean {
    if (address === undefined || this.#trusted === undefined) return false;
    const bare = unmapped(address);
    const family = isIP(bare);
    if (family === 0) return false;
    return family === 6 ? this.#trusted[1].check(bare, 'ipv6') : this.#trusted[0].check(bare, 'ipv4');
  }
}

function last(values: string | undefined): string | undefined {
  if (values === undefined) return undefined;
  const value = values.slice(values.lastIndexOf(',') + 1).trim();
  return value === '' ? undefined : value;
}

/** An address with or without port and brackets; undefined when it is none. */
function addressOf(text: string): string | undefined {
  const bracketed = /^\[([^\]]*)\](?::\d{1,5})?$/.exec(text)?.[1];
  const bare = bracketed ?? (/^\d+\.\d+\.\d+\.\d+:\d{1,5}$/.test(text) ? text.slice(0, text.indexOf(':')) : text);
  if (isIP(bare) === 0 || bare.includes('%')) return undefined;
  return unmapped(bare);
}

/** A dual-stack listener sees IPv4 callers as `::ffff:…`; unwrapped, or networks of IPv4 would not match (CVE-2026-30827). */
function unmapped(address: string): string {
  const tail = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  return tail ?? address;
}
