/**
 * DNS rebinding and cross-site protection (MCP transports, security): a page that makes a name of its own resolve
 * to this machine still sends that name as Host, and its origin as Origin. Checked at the listener for every path,
 * not per handler (CVE-2026-34742).
 */
import { TollgateError } from '../core/errors.ts';

const LOOPBACK_NAMES = ['localhost', '127.0.0.1', '[::1]'] as const;

/** RFC 9110 `uri-host [":" port]` without userinfo or percent-encoding; group 1 is the name. */
const HOST = /^([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?$/;

/** True for an address that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(host);
}

export interface HostOriginRules {
  /** Host to listen on; loopback adds the loopback names. */
  readonly host: string;
  readonly allowedHosts: readonly string[];
  readonly allowedOrigins: readonly string[];
  /** Present: pages of the own origin come by HTTPS. */
  readonly tls?: object | undefined;
}

/** Checks Host and Origin; undefined when both are fine. `port` is the one listened on. */
export class HostOriginGuard {
  readonly #hosts: ReadonlySet<string>;
  readonly #origins: ReadonlySet<string>;
  /** Host header values seen to be good: bounded by 64, and only texts that passed. */
  readonly #passed = new Set<string>();

  constructor(rules: HostOriginRules, port: number) {
    const hosts = new Set(rules.allowedHosts.map((host) => host.toLowerCase()));
    const origins = new Set(rules.allowedOrigins.map((origin) => origin.toLowerCase()));
    const scheme = rules.tls === undefined ? 'http' : 'https';
    const usual = rules.tls === undefined ? 80 : 443;
    const originOf = (name: string): string => `${scheme}://${name}${port === usual ? '' : `:${port}`}`;
    if (isLoopback(rules.host)) {
      for (const name of LOOPBACK_NAMES) {
        hosts.add(name);
        origins.add(originOf(name));
      }
      const own = rules.host.includes(':') && !rules.host.startsWith('[') ? `[${rules.host}]` : rules.host;
      hosts.add(own);
      origins.add(originOf(own));
    }
    this.#hosts = hosts;
    this.#origins = origins;
  }

  check(host: string | undefined, origin: string | undefined): TollgateError | undefined {
    if (host === undefined || !(this.#passed.has(host) || this.#hostAllowed(host))) {
      return new TollgateError(
        'host_not_allowed',
        'This Host is not served here. Add it to `allowedHosts` to serve it.',
      );
    }
    if (origin !== undefined && !this.#origins.has(origin.toLowerCase())) {
      return new TollgateError(
        'origin_not_allowed',
        'This Origin may not use the gateway. Add it to `allowedOrigins` to let its pages in.',
      );
    }
    return undefined;
  }

  #hostAllowed(host: string): boolean {
    const match = HOST.exec(host.toLowerCase());
    if (match === null || !this.#hosts.has(match[1]!) || Number(match[2] ?? 0) > 65_535) return false;
    if (this.#passed.size < 64) this.#passed.add(host);
    return true;
  }
}
