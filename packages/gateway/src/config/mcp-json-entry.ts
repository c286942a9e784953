import type { ForeignText } from './mcp-json-text.ts';
import { doubt, type Finding, type KeyPath, mistake, suggest } from './problems.ts';
import { headerNameProblem } from './schema/names.ts';
import { formatDuration } from './units.ts';
import { isRecord } from './values.ts';

/** Settings of a client, about its own window and questions. */
const CLIENT_KEYS = new Set([
  'alwaysAllow',
  'autoApprove',
  'trust',
  'description',
  'name',
  'icon',
  'gallery',
  'version',
  'note',
  'disabledTools',
  'dev',
]);
const QUIET_CLIENT_KEYS = new Set(['description', 'name', 'icon', 'gallery', 'version', 'note']);
const URL_KEYS = ['url', 'serverUrl', 'httpUrl'];
const USED_KEYS = new Set([
  'command',
  'args',
  'env',
  'envFile',
  'cwd',
  'url',
  'serverUrl',
  'httpUrl',
  'headers',
  'type',
  'transport',
  'transportType',
  'timeout',
  'disabled',
  'enabled',
  'oauth',
  'protocol',
  'instances',
  'pool',
]);

/** One entry of a client's file as a server of `tollgate.yaml`; undefined when it is switched off. */
export function translateEntry(
  entry: Record<string, unknown>,
  path: KeyPath,
  text: ForeignText,
  problems: Finding[],
): Record<string, unknown> | undefined {
  if (entry['disabled'] === true || entry['enabled'] === false) {
    problems.push(doubt(path, 'The server is switched off in this file and is left out.'));
    return undefined;
  }
  const out: Record<string, unknown> = {};
  const type = readType(entry, path, problems);
  if (type !== undefined) out['type'] = type;
  translateProcess(entry, path, text, problems, out);
  translateHttp(entry, path, text, problems, out);
  translateTimeout(entry['timeout'], path, problems, out);
  // Keys of our own in a client's file keep our meaning, and the schema judges them.
  for (const key of ['protocol', 'instances', 'pool']) if (entry[key] !== undefined) out[key] = entry[key];
  if (entry['auth'] === 'oauth') out['auth'] = 'oauth';
  for (const [key, value] of Object.entries(entry)) warnAbout(key, value, path, problems);
  return out;
}

function readType(entry: Record<string, unknown>, path: KeyPath, problems: Finding[]): string | undefined {
  const key = ['type', 'transport', 'transportType'].find((name) => entry[name] !== undefined);
  if (key === undefined) return undefined;
  const known: Record<string, string> = { stdio: 'stdio', local: 'stdio', http: 'http', remote: 'http', sse: 'sse' };
  const written = String(entry[key]);
  const type = known[written] ?? (/^(?:streamable[-_]?http|streamableHttp)$/i.test(written) ? 'http' : undefined);
  if (type === undefined) {
    const what = /^(?:ws|wss|websocket)$/i.test(written)
      ? 'WebSocket is not in this version.'
      : `"${written.slice(0, 60)}" is no transport that Tollgate knows.`;
    problems.push(mistake([...path, key], what, 'One of stdio, http, sse.'));
  }
  return type;
}

function translateProcess(
  entry: Record<string, unknown>,
  path: KeyPath,
  text: ForeignText,
  problems: Finding[],
  out: Record<string, unknown>,
): void {
  const own = isRecord(entry['env']) ? entry['env'] : {};
  const childEnv = new Set(Object.keys(own));
  if (typeof entry['command'] === 'string')
    out['command'] = text.expand(entry['command'], [...path, 'command'], childEnv);
  else if (entry['command'] !== undefined) out['command'] = entry['command'];
  if (Array.isArray(entry['args'])) {
    if (entry['args'].length > 0 || out['command'] !== undefined) {
      out['args'] = entry['args'].map((arg, i) =>
        isPlain(arg) ? text.expand(String(arg), [...path, 'args', i], childEnv) : arg,
      );
    }
  } else if (entry['args'] !== undefined) out['args'] = entry['args'];
  if (typeof entry['cwd'] === 'string') out['cwd'] = text.expand(entry['cwd'], [...path, 'cwd']);
  const fromFile =
    typeof entry['envFile'] === 'string'
      ? text.readEnvFile(text.expand(entry['envFile'], [...path, 'envFile']), [...path, 'envFile'])
      : {};
  const env = { ...fromFile, ...texts(own, [...path, 'env'], text) };
  if (out['command'] !== undefined && (Object.keys(env).length > 0 || entry['env'] !== undefined)) {
    out['env'] = entry['env'] === undefined || isRecord(entry['env']) ? env : entry['env'];
  } else if (Object.keys(env).length > 0 && hasUrl(entry)) {
    problems.push(doubt([...path, 'env'], 'A server with a URL has no environment; this is not used.'));
  }
  if (out['command'] === undefined && out['args'] !== undefined) {
    // Without a URL the missing command is the mistake, and is said once.
    if (hasUrl(entry)) {
      problems.push(doubt([...path, 'args'], 'A server with a URL has no arguments; this is not used.'));
    }
    delete out['args'];
  }
}

function translateHttp(
  entry: Record<string, unknown>,
  path: KeyPath,
  text: ForeignText,
  problems: Finding[],
  out: Record<string, unknown>,
): void {
  const key = URL_KEYS.find((name) => typeof entry[name] === 'string');
  if (key !== undefined) out['url'] = text.expand(entry[key] as string, [...path, key]);
  // A file for several clients may hold both; `type` tells which is meant.
  if (out['url'] !== undefined && out['command'] !== undefined && out['type'] !== undefined) {
    for (const other of out['type'] === 'stdio' ? ['url'] : ['command', 'args', 'env', 'cwd']) delete out[other];
  }
  if (isRecord(entry['headers']) && out['url'] !== undefined) {
    const headers = texts(entry['headers'], [...path, 'headers'], text);
    for (const name of Object.keys(headers)) {
      if (headerNameProblem(name) === undefined) continue;
      problems.push(
        doubt([...path, 'headers', name], `The gateway writes the header "${name}" itself; this value is not used.`),
      );
      delete headers[name];
    }
    out['headers'] = headers;
  } else if (entry['headers'] !== undefined && Object.keys(entry['headers'] ?? {}).length > 0) {
    problems.push(doubt([...path, 'headers'], 'Headers are for servers with a URL; this is not used.'));
  }
  if (isRecord(entry['oauth']) && out['url'] !== undefined) {
    out['auth'] = 'oauth';
    if (Object.keys(entry['oauth']).length > 0) {
      problems.push(
        doubt(
          [...path, 'oauth'],
          'The server is signed in to with `tollgate login`; the settings of this key are not used.',
        ),
      );
    }
  }
}

/** Clients count in seconds (Cline) or milliseconds (Claude, Gemini); the size of the number tells. */
function translateTimeout(value: unknown, path: KeyPath, problems: Finding[], out: Record<string, unknown>): void {
  if (value === undefined) return;
  if (isRecord(value)) {
    out['timeout'] = value;
    return;
  }
  if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) {
    problems.push(doubt([...path, 'timeout'], 'This timeout cannot be read; the default of 30s is used.'));
    return;
  }
  const ms = Math.min(Math.max(1, Math.round(value >= 1000 ? value : value * 1000)), 24 * 86_400_000);
  out['timeout'] = { request: formatDuration(ms) };
  problems.push(doubt([...path, 'timeout'], `Read as ${formatDuration(ms)} for the whole call.`));
}

function warnAbout(key: string, value: unknown, path: KeyPath, problems: Finding[]): void {
  if (USED_KEYS.has(key) || QUIET_CLIENT_KEYS.has(key) || (key === 'auth' && value === 'oauth')) return;
  const at = [...path, key];
  if (key === 'headersHelper') {
    problems.push(
      doubt(at, 'Tollgate runs no program to make headers; they are missing.', 'Write `headers` with a variable.'),
    );
  } else if (key === 'includeTools' || key === 'excludeTools') {
    problems.push(
      doubt(
        at,
        'All tools of the server are served.',
        'In a tollgate.yaml, write tools: { allow, deny } at the endpoint.',
      ),
    );
  } else if (CLIENT_KEYS.has(key)) {
    problems.push(doubt(at, 'This is a setting of a client; it is not used.'));
  } else {
    const hint = suggest(key, [...USED_KEYS]);
    problems.push(doubt(at, `"${key}" is not known; it is not used.`, hint.startsWith('Did you mean') ? hint : ''));
  }
}

function hasUrl(entry: Record<string, unknown>): boolean {
  return URL_KEYS.some((key) => typeof entry[key] === 'string');
}

function isPlain(value: unknown): value is string | number | boolean {
  return ['string', 'number', 'boolean'].includes(typeof value);
}

/** Numbers and booleans in `env` and `headers` are meant as text; other kinds are left to the schema. */
function texts(value: Record<string, unknown>, path: KeyPath, text: ForeignText): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, isPlain(item) ? text.expand(String(item), [...path, key]) : item]),
  );
}
