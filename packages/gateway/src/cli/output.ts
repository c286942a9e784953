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
  if (error.code === 'internal') {
    const cause = error.cause instanceof Error ? (error.cause.stack ?? error.cause.message) : String(error.cause);
    err(`tollgate failed unexpectedly. Please report this with the text below.\n${cause}`);
  } else {
    err(error.message);
  }
  return exitCodeOf(error);
}
