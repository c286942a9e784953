import { isIP } from 'node:net';

/** A value that cannot be read: `what` is wrong with it, and the `fix`. */
export class UnitError extends Error {
  readonly fix: string;
  constructor(what: string, fix: string) {
    super(what);
    this.fix = fix;
  }
}

const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const SIZE_UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1000,
  MB: 1000 ** 2,
  GB: 1000 ** 3,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
};

/** Longest duration: timers of the platform end at 2^31 - 1 ms (24.8 days). */
const MAX_DURATION_DAYS = 24;
/** Longest life of what has an end: a year, and the day of a leap year. */
const MAX_SPAN_DAYS = 366;
const MAX_VIRTUAL_DAYS = 1000;

export const DURATION_PATTERN = '^[0-9]+(\\.[0-9]+)?(ms|s|m|h|d)$';
export const SIZE_PATTERN = '^[0-9]+(\\.[0-9]+)?(B|KB|MB|GB|KiB|MiB|GiB)$';

/** `250ms`, `5s`, `2m`, `1.5h`, `1d` in milliseconds, rounded; more than zero, at most 24 days. */
export function parseDuration(text: string): number {
  return parseUpTo(text, MAX_DURATION_DAYS);
}

/** A duration that no timer waits for, such as the life of a key (`90d`): at most 366 days. */
export function parseSpan(text: string): number {
  return parseUpTo(text, MAX_SPAN_DAYS);
}

/** Virtual time passes at no cost, so that months may be written, and none at all: at most 1000 days. */
export function parseVirtualTime(text: string): number {
  return parseUpTo(text, MAX_VIRTUAL_DAYS, 0);
}

function parseUpTo(text: string, days: number, least = 1): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text);
  if (match === null) {
    throw new UnitError(`${quote(text)} is not a duration.`, 'Write a number with ms, s, m, h or d, for example 30s.');
  }
  const ms = Math.round(Number(match[1]) * DURATION_UNITS[match[2]!]!);
  if (ms < least) throw new UnitError(`${quote(text)} is no time at all.`, 'Write at least 1ms.');
  if (ms > days * DURATION_UNITS['d']!) {
    throw new UnitError(`${quote(text)} is too long.`, `The longest duration is ${days}d.`);
  }
  return ms;
}

/** `512B`, `64KiB`, `4MiB`, `1GB` in bytes, rounded; more than zero, at most 2^31 - 1. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(B|[KMG]i?B)$/.exec(text);
  if (match === null) {
    throw new UnitError(`${quote(text)} is not a size.`, 'Write a number with B, KiB, MiB or GiB, for example 4MiB.');
  }
  const bytes = Math.round(Number(match[1]) * SIZE_UNITS[match[2]!]!);
  if (bytes < 1) throw new UnitError(`${quote(text)} is no size at all.`, 'Write at least 1B.');
  if (bytes > 2 ** 31 - 1) throw new UnitError(`${quote(text)} is too large.`, 'The largest size is below 2GiB.');
  return bytes;
}

export interface ListenAddress {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

/** `127.0.0.1:7117`, `localhost:7117`, `[::1]:7117`, `0.0.0.0:7117`; the port may be 0. */
export function parseListen(text: string): ListenAddress {
  const example = 'Write host:port, for example 127.0.0.1:7117 or [::1]:7117.';
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(text);
  if (match === null) {
    if (/^:\d+$/.test(text)) {
      throw new UnitError('An address without a host is ambiguous.', `Write 127.0.0.1${text} or 0.0.0.0${text}.`);
    }
    throw new UnitError(`${quote(text)} is not a listen address.`, example);
  }
  const host = (match[1] ?? match[2]!).toLowerCase();
  const port = Number(match[3]);
  if (port > 65_535) throw new UnitError(`Port ${port} does not exist.`, 'Ports end at 65535.');
  if (match[1] !== undefined && isIP(host) !== 6) throw new UnitError(`${quote(text)} is not an address.`, example);
  if (match[1] === undefined && isIP(host) === 0 && !/^(?!-)[a-z0-9-]+(\.[a-z0-9-]+)*$/.test(host)) {
    throw new UnitError(`${quote(host)} is not a host name.`, example);
  }
  if (match[1] === undefined && /^[\d.]+$/.test(host) && isIP(host) === 0) {
    throw new UnitError(`${quote(host)} is not an IPv4 address.`, example);
  }
  return { host, port };
}

/** True for addresses that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return (
    host === 'localhost' ||
    host === '::1' ||
    /^127\.\d+\.\d+\.\d+$/.test(host) ||
    /^::ffff:127\.\d+\.\d+\.\d+$/.test(host)
  );
}

/** True for the addresses that mean every interface. */
export function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || /^[0:]+$/.test(host);
}

export function formatListen(address: ListenAddress): string {
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

/** The largest unit that divides evenly: `90s`, `2m`, `1d`. */
export function formatDuration(ms: number): string {
  for (const unit of ['d', 'h', 'm', 's']) {
    const size = DURATION_UNITS[unit]!;
    if (ms >= size && ms % size === 0) return `${ms / size}${unit}`;
  }
  return `${ms}ms`;
}

export function formatSize(bytes: number): string {
  for (const unit of ['GiB', 'MiB', 'KiB']) {
    const size = SIZE_UNITS[unit]!;
    if (bytes >= size && bytes % size === 0) return `${bytes / size}${unit}`;
  }
  return `${bytes}B`;
}

/** A text of the file as it may stand in a message. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}
