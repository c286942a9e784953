/** The process log: one JSON line per event, or plain lines on a terminal. Secrets do not get through. */
import { pino } from 'pino';
import type { Log } from '../core/log.ts';
import { cleaned } from './redact.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

export interface LogOptions {
  /** Default `info`. */
  readonly level?: LogLevel;
  /** Lines for people in place of JSON. Default: when standard error is a terminal. */
  readonly pretty?: boolean;
  /** Receives whole lines. Default: standard error; standard output belongs to the stdio transport and to commands. */
  readonly write?: (line: string) => void;
}

export interface ProcessLog extends Log {
  /** Writes what is still in memory: before the process exits. Never throws. */
  flush(): void;
}

/** Bytes that wait for a reader that has stopped; beyond it lines are dropped, because a log must not stop the gateway. */
const MAX_WAITING = 4 * 1024 * 1024;

export function createLog(options: LogOptions = {}): ProcessLog {
  const pretty = options.pretty ?? (options.write === undefined && process.stderr.isTTY === true);
  const output = options.write === undefined ? standardError() : { write: options.write, flush() {} };
  const write = pretty ? (line: string) => output.write(prettyLine(line)) : (line: string) => output.write(line);
  const logger = pino(
    {
      level: options.level ?? 'info',
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      // Errors reach the cleaning as they are: the logger's own form would join the messages of all causes.
      serializers: { err: (value) => value },
      formatters: { level: (level) => ({ level }), log: cleaned, bindings: cleaned },
    },
    { write },
  );
  return Object.assign(adapt(logger), { flush: () => output.flush() });
}

/** The logger by its interface alone: its message never takes format arguments, and is cleaned like the fields. */
function adapt(logger: pino.Logger): Log {
  const at = (level: 'debug' | 'info' | 'warn' | 'error') => (fields: object, message: string) => {
    if (logger.isLevelEnabled(level)) logger[level](fields, '%s', cleaned({ message })['message'] as string);
  };
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => adapt(logger.child(cleaned(fields))),
  };
}

function standardError(): { write(line: string): void; flush(): void } {
  const stream = pino.destination({ dest: 2, sync: false, maxLength: MAX_WAITING });
  // A closed pipe loses the log, not the gateway.
  stream.on('error', () => {});
  const flush = (): void => {
    try {
      stream.flushSync();
    } catch {
      // Nobody is left to be told.
    }
  };
  process.once('exit', flush);
  return { write: (line) => void stream.write(line), flush };
}

const TAGS: Readonly<Record<string, string>> = { debug: 'debug', info: '', warn: 'WARN ', error: 'ERROR ' };

/** `12:30:01 WARN message  key=value`. A line that is not ours passes as it is. */
function prettyLine(line: string): string {
  let record: Record<string, unknown>;
  try {
    record = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return line;
  }
  const { level, time, msg, ...fields } = record;
  const clock = typeof time === 'string' ? time.slice(11, 19) : '';
  const rest = Object.entries(fields).map(([key, value]) => `${key}=${fieldText(value)}`);
  return `${[`${clock} ${TAGS[String(level)] ?? ''}${indented(msg)}`, ...rest].join('  ')}\n`;
}

/** A line break in a message must not look like the next line of the log. */
function indented(msg: unknown): string {
  return typeof msg === 'string' ? msg.replace(/\r?\n/g, '\n    ') : '';
}

function fieldText(value: unknown): string {
  if (typeof value === 'string') return /^[^\s="]+$/.test(value) ? value : JSON.stringify(value);
  return JSON.stringify(value);
}
