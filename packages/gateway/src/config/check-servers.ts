import { formatReference, referencesIn } from '../core/secret-reference.ts';
import type { Checks, ParsedConfig } from './check.ts';
import { checkServerAuth } from './check-server-auth.ts';
import { doubt, type KeyPath, mistake } from './problems.ts';
import { isPlaceholder, isPlainSecret, isSecretName, looksSecret } from './secrets.ts';
import { formatDuration } from './units.ts';

type Server = ParsedConfig['servers'][string];

const PROCESS_KEYS = ['args', 'env', 'cwd', 'instances'] as const;
const HTTP_KEYS = ['headers', 'auth', 'pool', 'tls'] as const;

/** Connecting takes this long by default, or the whole call's time where that is less. */
export const DEFAULT_CONNECT = 5000;

export function checkServers(checks: Checks): void {
  const { config, findings } = checks;
  if (checks.servers.length === 0 && !checks.topLevelDamaged) {
    findings.push(
      mistake(
        ['servers'],
        'There is no server.',
        'For example servers: { files: { command: npx, args: [-y, my-server] } }.',
      ),
    );
  }
  for (const [name, server] of Object.entries(config.servers)) {
    const path = ['servers', name];
    if (server.command === undefined && server.url === undefined) {
      findings.push(mistake(path, 'A server needs a command or a URL.', 'Write `command` and `args`, or `url`.'));
      continue;
    }
    if (server.command !== undefined && server.url !== undefined) {
      findings.push(mistake(path, 'A server has a command or a URL, not both.', 'Remove `command` or `url`.'));
      continue;
    }
    checkKind(checks, path, server);
    checkTimeouts(checks, path, server);
    checkValues(checks, path, server);
  }
}

function checkKind(checks: Checks, path: KeyPath, server: Server): void {
  const { findings } = checks;
  const stdio = server.command !== undefined;
  for (const key of stdio ? HTTP_KEYS : PROCESS_KEYS) {
    if (server[key] === undefined) continue;
    const what = stdio
      ? 'is for servers with a URL; this one is a process.'
      : 'is for servers with a command; this one has a URL.';
    findings.push(mistake([...path, key], `\`${key}\` ${what}`, 'Remove it.'));
  }
  if (server.tls !== undefined && server.url?.startsWith('http:') === true) {
    findings.push(mistake([...path, 'tls'], 'The URL is plain HTTP.', 'Write https, or remove `tls`.'));
  }
  if (server.tls?.pin?.length === 0) {
    findings.push(mistake([...path, 'tls', 'pin'], 'No key is pinned, so none could be right.', 'Remove it.'));
  }
  if (server.type !== undefined && (server.type === 'stdio') !== stdio) {
    const fix = stdio ? 'Write type: stdio, or remove it.' : 'Write type: http, or remove it.';
    findings.push(
      mistake([...path, 'type'], `Type ${server.type} does not fit a server with a ${stdio ? 'command' : 'URL'}.`, fix),
    );
  }
  if (stdio && server.protocol === 'sse') {
    findings.push(
      mistake([...path, 'protocol'], 'A process does not speak the SSE transport.', 'Write auto, modern or legacy.'),
    );
  }
  if (!stdio && server.type === 'sse' && server.protocol !== undefined && server.protocol !== 'sse') {
    findings.push(
      mistake(
        [...path, 'protocol'],
        `Type sse and protocol ${server.protocol} contradict each other.`,
        'Remove one of them.',
      ),
    );
  }
  checkServerAuth(checks, path, server);
}

function checkTimeouts(checks: Checks, path: KeyPath, server: Server): void {
  const { request } = server.timeout;
  for (const key of ['connect', 'firstByte', 'idle'] as const) {
    const value = server.timeout[key];
    if (value !== undefined && value > request) {
      checks.findings.push(
        mistake(
          [...path, 'timeout', key],
          `${formatDuration(value)} can never pass: the whole call ends after ${formatDuration(request)}.`,
          'Raise `timeout.request`, or lower this.',
        ),
      );
    }
  }
}

/** A process cannot tell its callers apart: one that holds the secret of a user is that user's. */
function checkOwnSecrets(checks: Checks, path: KeyPath, server: Server): void {
  const own = Object.values(server.env ?? {})
    .flatMap(referencesIn)
    .find(({ scope }) => scope !== 'gateway');
  const { instances = 'auto' } = server;
  const mode = typeof instances === 'string' ? instances : instances.mode;
  if (own === undefined || mode === 'auto' || mode === 'per-principal') return;
  checks.findings.push(
    mistake(
      [...path, 'instances'],
      `${formatReference(own)} is of one caller, and with \`${mode}\` a process serves several.`,
      'Write instances: per-principal.',
    ),
  );
}

function checkValues(checks: Checks, path: KeyPath, server: Server): void {
  const { findings } = checks;
  checkOwnSecrets(checks, path, server);
  const literal = (...rest: (string | number)[]) => checks.isLiteral(...path, ...rest);
  const at = (...rest: (string | number)[]): KeyPath => [...path, ...rest];
  for (const [name, value] of Object.entries(server.env ?? {})) {
    if (value.includes('\0')) findings.push(mistake(at('env', name), 'The value holds a NUL character.'));
    judgeSecret(checks, at('env', name), name, value, literal('env', name));
  }
  for (const [name, value] of Object.entries(server.headers ?? {})) {
    // A line break would let a value write further headers (CWE-113).
    if (/[^\t\x20-\x7e\x80-\xff]/.test(value)) {
      findings.push(
        mistake(at('headers', name), 'The value holds a line break or a character that headers cannot carry.'),
      );
    }
    judgeSecret(checks, at('headers', name), name, value, literal('headers', name));
  }
  server.args?.forEach((arg, i) => {
    if (arg.includes('\0')) findings.push(mistake(at('args', i), 'The argument holds a NUL character.'));
    if (looksSecret(arg)) {
      findings.push(
        doubt(
          at('args', i),
          'This looks like a secret; every user of the machine can read a command line.',
          'Pass it in `env`.',
        ),
      );
    }
  });
  if (server.url !== undefined && literal('url')) {
    const url = new URL(server.url);
    const telling = [...url.searchParams].some(([name, value]) => isSecretName(name) || looksSecret(value));
    if (url.password !== '' || telling) {
      findings.push(
        doubt(
          at('url'),
          'The URL holds a secret in plain text.',
          `Write ${checks.variable} instead, best in \`headers\`.`,
        ),
      );
    }
  }
}

function judgeSecret(checks: Checks, path: KeyPath, name: string, value: string, literal: boolean): void {
  if (isSecretName(name) && isPlaceholder(value)) {
    checks.findings.push(
      doubt(path, 'This is a placeholder, not a secret.', `Write ${checks.variable} and set the variable.`),
    );
  } else if (literal && isPlainSecret(name, value)) {
    checks.findings.push(
      doubt(path, 'This secret stands in the file in plain text.', `Write ${checks.variable} and set the variable.`),
    );
  }
}
