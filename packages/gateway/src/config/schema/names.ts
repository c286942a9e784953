/** Names, patterns, hosts and URLs: the texts that have a form of their own. */
import { isIP } from 'node:net';
import { patternProblem } from '../globs.ts';
import { UnitError } from '../units.ts';
import { message, parsed } from './kit.ts';

const FORBIDDEN_KEYS = new Set(['__proto__', 'constructor', 'prototype']);

export function forbiddenKey(key: string): string | undefined {
  return FORBIDDEN_KEYS.has(key) ? message(`"${key}" cannot be used as a name.`, 'Choose another.') : undefined;
}

/** Names of servers stand in paths, canonical ids and tool names. */
export function serverNameProblem(name: string): string | undefined {
  if (/^\d+$/.test(name)) {
    return message(
      `"${name}" is a number; the order of servers counts, and number-like keys lose their place.`,
      `Write server-${name}.`,
    );
  }
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/.test(name)) {
    return message(
      `${JSON.stringify(name.slice(0, 80))} is not a server name.`,
      'Use 1 to 64 letters, digits, "_", "-" and ".", a letter or digit first.',
    );
  }
  if (/^tollgate(_|$)/i.test(name)) return message('"tollgate" is reserved.', 'Choose another name.');
  return forbiddenKey(name);
}

/** Limits and auth entries. */
export function ruleNameProblem(name: string): string | undefined {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(name)) {
    return message(`${JSON.stringify(name.slice(0, 80))} is not a name.`, 'Use 1 to 64 letters, digits, "_" and "-".');
  }
  return forbiddenKey(name);
}

export function patternKeyProblem(pattern: string): string | undefined {
  const problem = patternProblem(pattern);
  return problem === undefined ? forbiddenKey(pattern) : message(problem);
}

export function pattern(example: string) {
  return parsed('a pattern', example, (value) => {
    const problem = patternProblem(value);
    if (problem !== undefined) throw new UnitError(problem, '');
    return value;
  });
}

export function serverName(example: string) {
  return parsed('the name of a server', example, (value) => value);
}

export function ruleName(what: string, example: string) {
  return parsed(what, example, (value) => {
    if (ruleNameProblem(value) !== undefined) {
      throw new UnitError(
        `${JSON.stringify(value.slice(0, 80))} is not a name.`,
        'Use 1 to 64 letters, digits, "_" and "-".',
      );
    }
    return value;
  });
}

/** A scope as it stands in a token: visible ASCII without quotes and backslash (RFC 6749, 3.3). */
export function scopeName() {
  return parsed('a scope', 'read_data', (value) => {
    if (!/^[\x21\x23-\x5b\x5d-\x7e]{1,256}$/.test(value)) {
      throw new UnitError('A scope is one word of visible characters.', 'For example read_data or admin:*.');
    }
    return value;
  });
}

/** Advertised tool names: what clients and the specification accept. */
export function toolName() {
  return parsed('a tool name', 'search', (value) => {
    if (!/^[A-Za-z0-9_.-]{1,64}$/.test(value)) {
      throw new UnitError(
        'Clients accept tool names of 1 to 64 letters, digits, "_", "-" and ".".',
        'For example search.',
      );
    }
    if (value.startsWith('tollgate_')) throw new UnitError('"tollgate_" is reserved.', 'Choose another name.');
    return value;
  });
}

/** A host as it stands in a Host header, without port, lower case; IPv6 in brackets. */
export function hostName() {
  return parsed('a host name', 'gw.example', (value) => {
    if (/^[a-z]+:\/\//i.test(value)) {
      throw new UnitError('A host has no scheme.', `Write ${URL.parse(value)?.hostname ?? 'gw.example'}.`);
    }
    if (value.includes('*')) throw new UnitError('Hosts cannot have wildcards.', 'List each host name.');
    const bare = value.replace(/^\[(.*)\]$/, '$1');
    if (isIP(bare) === 6) return `[${bare.toLowerCase()}]`;
    const port = /^(.+):\d+$/.exec(value);
    if (port !== null) throw new UnitError('A host has no port here.', `Write ${port[1]}.`);
    const url = /[/?#@\s\\]/.test(value) ? null : URL.parse(`http://${value}`);
    if (url === null) {
      throw new UnitError(`${JSON.stringify(value.slice(0, 80))} is not a host name.`, 'For example gw.example.');
    }
    return url.hostname;
  });
}

/** An origin as browsers send it: scheme, host, port when not the default; lower case. */
export function origin() {
  return parsed('an origin', 'https://app.example', (value) => {
    if (value.includes('*')) throw new UnitError('Origins cannot have wildcards.', 'List each origin.');
    const url = URL.parse(value);
    if (url === null || url.host === '') {
      throw new UnitError(
        `${JSON.stringify(value.slice(0, 80))} is not an origin.`,
        'For example https://app.example.',
      );
    }
    if (url.pathname !== '/' && url.pathname !== '')
      throw new UnitError('An origin has no path.', `Write ${bareOrigin(url)}.`);
    if (url.search !== '' || url.hash !== '' || url.username !== '') {
      throw new UnitError('An origin is scheme, host and port only.', `Write ${bareOrigin(url)}.`);
    }
    return bareOrigin(url);
  });
}

/** `URL.origin` is "null" for schemes of desktop clients (`vscode-webview:`), so it is put together here. */
function bareOrigin(url: URL): string {
  return `${url.protocol}//${url.host}`.toLowerCase();
}

/** An address, or a network as `10.0.0.0/8`. */
export function network() {
  return parsed('an address or a network', '10.0.0.0/8', (value) => {
    const [address = '', prefix, more] = value.split('/');
    const family = isIP(address);
    const bits = prefix === undefined ? undefined : /^\d{1,3}$/.test(prefix) ? Number(prefix) : -1;
    const most = family === 6 ? 128 : 32;
    if (
      family === 0 ||
      address.includes('%') ||
      more !== undefined ||
      (bits !== undefined && (bits < 0 || bits > most))
    ) {
      throw new UnitError(
        `${JSON.stringify(value.slice(0, 80))} is not an address or a network.`,
        'For example 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32.',
      );
    }
    if (bits === 0) {
      throw new UnitError('Everybody would be a trusted proxy, and could pretend to be anybody.', 'List the proxies.');
    }
    return value.toLowerCase();
  });
}

/** A header name that pages may send or read; lower case. */
export function corsHeader() {
  return parsed('a header name', 'traceparent', (value) => {
    if (value.includes('*')) throw new UnitError('Headers cannot have wildcards.', 'List each header.');
    if (!/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$/.test(value)) {
      throw new UnitError(`${JSON.stringify(value.slice(0, 80))} is not a header name.`, 'For example traceparent.');
    }
    return value.toLowerCase();
  });
}

/** What a pin names: SHA-256 of a public key (SPKI), base64, with or without `sha256/` before it. */
export function pin() {
  return parsed('a pin', '"sha256/AAAA…="', (value) => {
    const text = value.replace(/^sha256\//, '');
    if (!/^[A-Za-z0-9+/]{43}=$/.test(text)) {
      throw new UnitError(
        'A pin is the SHA-256 of a public key in base64: 44 characters.',
        'openssl x509 -in cert.pem -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64',
      );
    }
    return text;
  });
}

/** The gateway's own address as clients see it; no trailing slash. */
export function publicUrl() {
  return parsed('a URL', 'https://gw.example', (value) => {
    const url = httpUrl(value);
    if (url.search !== '' || url.hash !== '' || url.username !== '' || url.password !== '') {
      throw new UnitError('This URL has no query, fragment or user.', 'For example https://gw.example.');
    }
    return url.href.replace(/\/+$/, '');
  });
}

/** A server's URL; the operator's word is trusted, so any host is fine. Never quoted: it may hold a secret. */
export function serverUrl() {
  return parsed('a URL', 'https://mcp.example/mcp', (value) => {
    httpUrl(value);
    return value;
  });
}

/** A URL that gets a secret or a token: HTTPS, or HTTP to this machine. */
export function operatorUrl(example: string) {
  return parsed('a URL', example, (value) => {
    const url = httpUrl(value);
    const loopback = ['127.0.0.1', 'localhost', '[::1]'].includes(url.hostname);
    if (url.protocol !== 'https:' && !loopback) {
      throw new UnitError('Secrets go there, so it must be https, or http to loopback.', `For example ${example}.`);
    }
    if (url.username !== '' || url.password !== '' || url.hash !== '') {
      throw new UnitError('This URL has no user and no fragment.', `For example ${example}.`);
    }
    return value;
  });
}

function httpUrl(value: string): URL {
  const url = URL.parse(value);
  if (url === null) throw new UnitError('This is not a URL.', 'For example https://mcp.example/mcp.');
  if (url.protocol === 'ws:' || url.protocol === 'wss:') {
    throw new UnitError('WebSocket is not in this version.', 'Write an http or https URL.');
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new UnitError('The URL must begin with http:// or https://.', 'For example https://mcp.example/mcp.');
  }
  return url;
}

/** Header names as HTTP writes them (RFC 9110, 5.1); those that the gateway itself must write are refused. */
export function headerNameProblem(name: string): string | undefined {
  if (!/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}$/.test(name)) {
    return message(`${JSON.stringify(name.slice(0, 80))} is not a header name.`, 'For example x-api-key.');
  }
  if (OWN_HEADERS.has(name.toLowerCase()) || /^mcp-/i.test(name)) {
    return message(`The gateway writes the header "${name}" itself.`, 'Remove it.');
  }
  return forbiddenKey(name);
}

const OWN_HEADERS = new Set([
  'accept',
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'expect',
  'host',
  'keep-alive',
  'last-event-id',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

export function environmentNameProblem(name: string): string | undefined {
  if (name === '' || /[=\0]/.test(name)) {
    return message(`${JSON.stringify(name.slice(0, 80))} is not the name of a variable.`, 'For example API_KEY.');
  }
  return forbiddenKey(name);
}
