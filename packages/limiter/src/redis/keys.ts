import { createHash } from 'node:crypto';

/** Tenants whose tags are kept ready; past it they are hashed again. */
const MAX_TAGS = 10_000;

export function sha1(text: string): string {
  return createHash('sha1').update(text).digest('hex');
}

/** Hexadecimal digits of a SHA-256. Nothing that a caller sent is ever part of a key: it is hashed first. */
export function digest(text: string, digits: 16 | 32): string {
  return createHash('sha256').update(text, 'utf8').digest('hex').slice(0, digits);
}

export function hex(lane: number): string {
  return (lane >>> 0).toString(16).padStart(8, '0');
}

/** Where keys live: `prefix:{tag}:`. One tag keeps everything in one slot; on a cluster each tenant has its own as well. */
export class Places {
  /** Keys of rules that tenants share, and of the limiter itself. */
  readonly common: string;
  readonly prefix: string;
  readonly #cluster: boolean;
  readonly #tags = new Map<string, string>();

  constructor(prefix: string, cluster: boolean, tag = 'all') {
    this.prefix = prefix;
    this.#cluster = cluster;
    this.common = `${prefix}:{${tag}}:`;
  }

  of(tenant: string): string {
    if (!this.#cluster) return this.common;
    let base = this.#tags.get(tenant);
    if (base === undefined) {
      base = `${this.prefix}:{${digest(tenant, 16)}}:`;
      if (this.#tags.size === MAX_TAGS) this.#tags.clear();
      this.#tags.set(tenant, base);
    }
    return base;
  }
}

/** Slot of a key with a hash tag, as a cluster computes it (CRC-16 XMODEM of the tag). */
export function slotOf(key: string): number {
  const open = key.indexOf('{');
  const close = key.indexOf('}', open);
  let crc = 0;
  for (let at = open + 1; at < close; at++) {
    crc ^= key.charCodeAt(at) << 8;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000) !== 0 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff;
  }
  return crc & 16_383;
}
