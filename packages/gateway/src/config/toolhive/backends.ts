import type { Cursor } from './cursor.ts';
import { parseGoDuration } from './duration.ts';
import type { Backend, HeaderValue, ReadOptions } from './model.ts';

const STRATEGIES = ['tokenExchange', 'upstreamInject', 'awsSts', 'obo', 'xaa'] as const;

/** A value that an environment variable has. Unset and empty are mistakes, as for ToolHive itself. */
export function fromVariable(at: Cursor, variable: string, { env }: ReadOptions): string | undefined {
  const value = env[variable];
  if (value !== undefined && value !== '') return value;
  at.refuse(
    `The environment variable ${variable} is not set or empty.`,
    'It holds what the cluster keeps in a Secret.',
  );
  return undefined;
}

/** The headers that a strategy of `outgoingAuth` adds; other strategies are refused by name. */
export function readStrategy(cursor: Cursor, options: ReadOptions): HeaderValue[] {
  if (!cursor.present) return [];
  cursor.strict({ used: ['type', 'headerInjection', ...STRATEGIES] });
  const type = cursor.at('type').text();
  if (type === 'unauthenticated') return [];
  if (type !== 'header_injection') {
    cursor
      .at('type')
      .refuse(
        `"${(type ?? '').slice(0, 60)}" is not in this version of Tollgate.`,
        'One of unauthenticated, header_injection.',
      );
    return [];
  }
  const injection = cursor.at('headerInjection');
  injection.strict({ used: ['headerName', 'headerValue', 'headerValueEnv'] });
  const name = injection.at('headerName').text();
  const literal = injection.at('headerValue').text();
  const variable = injection.at('headerValueEnv').text();
  if (name === undefined) injection.refuse('Which header?', 'Write headerName.');
  if (literal !== undefined && variable !== undefined) {
    injection.refuse('only one of headerValue or headerValueEnv must be set');
  } else if (literal === undefined && variable === undefined) {
    injection.refuse('either headerValue or headerValueEnv must be set');
  }
  const value = literal ?? (variable === undefined ? undefined : fromVariable(injection, variable, options));
  if (name === undefined || value === undefined) return [];
  return [{ name, value, variable: literal === undefined ? variable : undefined, from: injection.path }];
}

/** `outgoingAuth` of a generated file: the headers by server. */
export function readOutgoingAuth(cursor: Cursor, options: ReadOptions): (server: string) => readonly HeaderValue[] {
  cursor.strict({ used: ['source', 'default', 'backends'] });
  cursor.at('source').choice(['inline', 'discovered'], 'discovered');
  const fallback = readStrategy(cursor.at('default'), options);
  const own = new Map(
    cursor
      .at('backends')
      .entries()
      .map(([name, at]) => [name, readStrategy(at, options)]),
  );
  return (server) => own.get(server) ?? fallback;
}

/** `operational`: the timeout of each server. */
export function readOperational(cursor: Cursor): (server: string) => number | undefined {
  cursor.strict({ used: ['timeouts', 'failureHandling'], idle: ['logLevel'] });
  const timeouts = cursor.at('timeouts');
  timeouts.strict({ used: ['default', 'perWorkload'] });
  const fallback = readTimeout(timeouts.at('default'));
  const own = new Map(
    timeouts
      .at('perWorkload')
      .entries()
      .map(([name, at]) => [name, readTimeout(at)]),
  );
  const failure = cursor.at('failureHandling');
  failure.strict({
    used: ['partialFailureMode'],
    // Tollgate learns of a dead server from its calls, and tries it again by itself.
    idle: ['healthCheckInterval', 'healthCheckTimeout', 'unhealthyThreshold', 'statusReportingInterval'],
    later: ['circuitBreaker'],
  });
  const mode = failure.at('partialFailureMode');
  if (mode.choice(['fail', 'best_effort'], 'best_effort') === 'fail') {
    // Only its validator reads it, and it stands in every generated file.
    mode.warn('As in ToolHive, "fail" has no effect: a list goes on without a dead server.');
  }
  return (server) => own.get(server) ?? fallback;
}

const MAX_TIMEOUT = 24 * 86_400_000;

function readTimeout(cursor: Cursor): number | undefined {
  const text = cursor.text();
  if (text === undefined) return undefined;
  const ms = Math.ceil((parseGoDuration(text) ?? 0) / 1000);
  if (ms >= 1 && ms <= MAX_TIMEOUT) return ms;
  cursor.refuse(`"${text.slice(0, 60)}" is not a timeout.`, 'Write a duration of at most 576h, for example 30s.');
  return undefined;
}

/** One of `backends` of a generated file. */
export function readStaticBackend(
  cursor: Cursor,
  headersOf: (server: string) => readonly HeaderValue[],
  timeoutOf: (server: string) => number | undefined,
): Backend | undefined {
  cursor.strict({ used: ['name', 'url', 'transport', 'type', 'metadata'], later: ['caBundlePath'] });
  const name = cursor.at('name').text();
  const url = cursor.at('url').text();
  const transport = cursor.at('transport').choice(['streamable-http', 'sse'], 'streamable-http');
  if (name === undefined) cursor.refuse('A backend needs its name.', 'Write name.');
  if (url === undefined) cursor.refuse('Where is this backend?', 'Write url: https://….');
  if (name === undefined || url === undefined) return undefined;
  return {
    name,
    url,
    sse: transport === 'sse',
    headers: headersOf(name),
    timeout: timeoutOf(name),
    from: cursor.path,
  };
}
