/** How the next command must be written to work in the shell and folder where this one was called. */
import { isAbsolute, relative } from 'node:path';
import { TollgateError } from '../core/errors.ts';

/** What npm tells a program that it starts. */
type Environment = Readonly<Record<string, string | undefined>>;

/**
 * npm and npx put the command on the path of what they start, not of the person's shell; and `npx tollgate` outside the
 * checkout that `--prefix` named would be fetched from the registry.
 */
export function programName(env: Environment = process.env, cwd: string = process.cwd()): string {
  if (env['npm_command'] === undefined) return 'tollgate';
  const prefix = env['npm_config_local_prefix'];
  if (prefix === undefined || !isAbsolute(prefix) || isWithin(cwd, prefix)) return 'npx tollgate';
  return `npx --prefix ${shellWord(prefix)} tollgate`;
}

/** `npx tollgate stop tollgate.yaml`, each word as a shell takes it. */
export function commandLine(...words: readonly (string | undefined)[]): string {
  return [programName(), ...words.filter((word) => word !== undefined).map(shellWord)].join(' ');
}

export function shellWord(word: string): string {
  return /^[\w./@:=-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

function isWithin(folder: string, parent: string): boolean {
  const way = relative(parent, folder);
  return way !== '..' && !/^\.\.[/\\]/.test(way) && !isAbsolute(way);
}

const NOT_RUNNING = 'No gateway of this configuration is running.';

export function notRunning(): TollgateError {
  return new TollgateError('gateway_not_running', NOT_RUNNING);
}

/** A command as the person called it. */
export interface Called {
  /** `budget show`, with its arguments in capitals: `budget show WHO`. */
  readonly usage: string;
  /** CONFIG, or what `--config` says; undefined: the one in this folder. */
  readonly config: string | undefined;
  /** The command takes its configuration as `--config`, not as an argument. */
  readonly asOption: boolean;
}

/** Adds the command that helps to an error that only a command can mend. */
export function withNextCommand(thrown: unknown, { usage, config, asOption }: Called): unknown {
  if (!TollgateError.is(thrown)) return thrown;
  const { code, message } = thrown;
  if (code === 'gateway_not_running' && message === NOT_RUNNING)
    return new TollgateError(code, `${message} Start it with: ${commandLine('serve', config)}`, { cause: thrown });
  if (code === 'config_not_found' && config === undefined) {
    const named = `${programName()} ${usage} ${asOption ? '--config FILE' : 'FILE'}`;
    return new TollgateError(code, `${message} Go to a folder that has one, or name a file: ${named}`, {
      cause: thrown,
    });
  }
  return thrown;
}
