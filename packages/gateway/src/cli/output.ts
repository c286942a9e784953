/** What the command line prints: prose for people, `--json` for programs, never a stack trace for a user's mistake. */
import { TollgateError } from '../core/errors.ts';
import { plainJson, withoutControls } from '../core/plain-text.ts';

/** Exit codes, documented in `docs/cli.md`. */
export const Exit = {
  ok: 0,
  /** Something failed while running. */
  failure: 1,
  /** The command line or the configuration is wrong, or consent is missing. */
  usage: 2,
  /** The gateway is not running, or does not answer. */
  unreachable: 3,
} as const;

export function out(text: string): void {
  process.stdout.write(`${withoutControls(text)}\n`);
}

export function err(text: string): void {
  process.stderr.write(`${withoutControls(text)}\n`);
}

/** One line of JSON; what could steer a terminal is escaped in it. */
export function json(value: unknown): void {
  process.stdout.write(`${plainJson(value)}\n`);
}

/**
 * A reader may leave before the end (`| head`): the command then finishes without being heard. What cannot be written for
 * another reason is a failure, except for `serve`, which is there for its clients.
 */
export function keepWithoutReader(goesOn: boolean): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (goesOn || error.code === 'EPIPE' || error.code === 'ECONNRESET') return;
    process.exit(report(error));
  });
  process.stderr.on('error', () => {});
}

export function exitCodeOf(error: TollgateError): number {
  switch (error.code) {
    case 'config_invalid':
    case 'config_not_found':
    case 'consent_required':
    case 'usage':
      return Exit.usage;
    case 'gateway_not_running':
      return Exit.unreachable;
    default:
      return Exit.failure;
  }
}

/** Prints a failure and gives its exit code. Only an unexpected one shows where it came from. */
export function report(thrown: unknown): number {
  const error = TollgateError.from(thrown);
  err(failureText(error));
  return exitCodeOf(error);
}

/** What is wrong with the machine and not with the program, by the system's word for it, and what to do. */
const OF_THE_MACHINE: Readonly<Record<string, string>> = {
  ENOSPC: 'Make room on the disk, and start again.',
  EDQUOT: 'Make room within the quota, and start again.',
  EFBIG: 'Raise the largest size of a file (`ulimit -f`), and start again.',
  EROFS: 'Choose another place, for example with `dataDir`.',
  EACCES: 'Give this user the right, or choose another place, for example with `dataDir`.',
  EPERM: 'Give this user the right, or choose another place, for example with `dataDir`.',
  ENOTDIR: 'Choose another place, for example with `dataDir`.',
  EISDIR: 'Choose another place, or move the folder away.',
  EEXIST: 'Choose another place, or move away what is there.',
  EIO: 'Look after the disk.',
  EMFILE: 'Raise the number of open files (`ulimit -n`), and start again.',
  ENFILE: 'The machine has too many files open.',
};

/** A sentence; for what nobody expected also where it came from. */
export function failureText(error: TollgateError): string {
  if (error.code !== 'internal') return error.message;
  const { cause } = error;
  if (!(cause instanceof Error)) return unexpected(String(cause));
  const { code = '', syscall } = cause as NodeJS.ErrnoException;
  const fix = syscall === undefined ? undefined : OF_THE_MACHINE[code];
  return fix === undefined ? unexpected(cause.stack ?? cause.message) : `The system says: ${cause.message}. ${fix}`;
}

function unexpected(text: string): string {
  return `tollgate failed unexpectedly. Please report this with the text below.\n${text}`;
}
