/** What members of objects give away by their names: secrets, addresses, polluted prototypes. */
import type { Finding } from './finding.ts';
import { distinct, isPlaceholder, SECRET_KEY } from './secret-rules.ts';

const MAX_FINDINGS = 50;
const MIN_SECRET = 8;
/** Members that a schema describes are not values. */
const SCHEMA_PARENTS = new Set(['properties', 'patternProperties', 'definitions', '$defs', 'required', 'enum']);
const METADATA = new Set([
  '169.254.169.254',
  '169.254.170.2',
  '100.100.100.200',
  '[fd00:ec2::254]',
  '[::ffff:a9fe:a9fe]',
]);

export function scanMembers(value: unknown): Finding[] {
  const findings: Finding[] = [];
  walk(value, '$', undefined, 0, findings);
  return findings;
}

function walk(value: unknown, where: string, parent: string | undefined, depth: number, findings: Finding[]): void {
  if (findings.length >= MAX_FINDINGS || depth > 64 || typeof value !== 'object' || value === null) return;
  const list = Array.isArray(value);
  for (const [key, member] of Object.entries(value)) {
    const path = list ? `${where}[${key}]` : `${where}.${key.replace(/[^\w$-]/g, '?').slice(0, 60)}`;
    if (typeof member === 'string') {
      if (!list && parent !== undefined && SCHEMA_PARENTS.has(parent)) continue;
      if (!list) findings.push(...secretMember(key, member, path));
      findings.push(...addresses(key, member, path));
    } else {
      if (pollutes(key, member)) findings.push(polluted(path));
      walk(member, path, list ? parent : key, depth + 1, findings);
    }
  }
}

function secretMember(key: string, text: string, where: string): Finding[] {
  const bearer = /^authorization$/i.test(key) && /^(?:bearer|basic|token) +\S{12}/i.test(text);
  const snake = key.replace(/([a-z])([A-Z])/g, '$1_$2');
  if (!bearer && !SECRET_KEY.test(snake)) return [];
  if (
    text.length < MIN_SECRET ||
    isPlaceholder(text) ||
    distinct(text) < 6 ||
    /\s/.test(text.trim().replace(/^\w+ +/, ''))
  )
    return [];
  return [
    {
      id: 'plain_secret',
      severity: 'high',
      where,
      what: 'A secret in plain text, by the name of its member.',
      fix: 'Revoke it if it is real, and write a reference in its place: ${env:NAME}.',
    },
  ];
}

function addresses(key: string, text: string, where: string): Finding[] {
  if (!text.includes('://')) return [];
  const findings: Finding[] = [];
  let seen = 0;
  for (const [url] of text.matchAll(/\bhttps?:\/\/[^\s"'<>`)\u0001]{1,300}/gi)) {
    if (++seen > 50) break;
    // The parser knows the many ways to write an address: decimal, octal, hexadecimal, mapped.
    const parsed = URL.parse(url);
    if (parsed === null) continue;
    const { hostname } = parsed;
    const written = url.slice(url.indexOf('//') + 2).toLowerCase();
    const literal = /^(?:[^/@]{0,80}@)?(?:\d{1,3}(?:\.\d{1,3}){3}|\[)/.test(written);
    const disguised =
      /^(?:127\.|10\.|169\.254\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|0\.)/.test(hostname) &&
      (!literal || /(?:^|[.@])0\d/.test(written));
    if (METADATA.has(hostname) || disguised) {
      findings.push({
        id: 'ssrf_target',
        severity: 'high',
        where,
        what: disguised
          ? 'A private address in a form that hides it.'
          : 'The metadata service of a cloud machine: it gives credentials to whoever asks from there.',
        fix: 'Refuse the argument; have the server connect only to public addresses.',
      });
      break;
    }
    if (
      /^(?:url|endpoint|baseUrl|base_url|issuer|jwks)$/.test(key) &&
      parsed.protocol === 'http:' &&
      !isLoopback(hostname)
    ) {
      findings.push(insecureUrl(where));
      break;
    }
  }
  return findings;
}

export function insecureUrl(where: string): Finding {
  return {
    id: 'insecure_url',
    severity: 'medium',
    where,
    what: 'An http address beyond this machine: whoever is on the way reads and changes what is sent.',
    fix: 'Use https.',
  };
}

export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname.endsWith('.localhost') || hostname === '[::1]' || /^127\./.test(hostname);
}

function pollutes(key: string, member: unknown): boolean {
  if (key === '__proto__') return true;
  return key === 'constructor' && typeof member === 'object' && member !== null && Object.hasOwn(member, 'prototype');
}

function polluted(where: string): Finding {
  return {
    id: 'prototype_pollution',
    severity: 'high',
    where,
    what: 'A member that changes the prototype of all objects where it is merged carelessly.',
    fix: 'Refuse the argument.',
  };
}
