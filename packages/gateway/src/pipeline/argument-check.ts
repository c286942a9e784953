/**
 * Checks of arguments against a tool's input schema, for tools with `validate: true` (by default the server checks).
 * The engine interprets the schema, so a server's schema is never turned into code, and never fetches a `$ref`. Its
 * patterns are backtracking expressions of a stranger, run on texts of another, so every check has a time budget.
 */
import { createContext, Script } from 'node:vm';
import { CfWorkerJsonSchemaValidator } from '@modelcontextprotocol/client/validators/cf-worker';
import { type Entry, entryText } from '../catalog/merge.ts';
import { TollgateError } from '../core/errors.ts';

/** Bytes of a schema that is compiled; checking costs time on the main thread. */
const MAX_SCHEMA = 64 * 1024;

/** Milliseconds for one check; an honest schema takes well under one. */
const BUDGET_MS = 100;
/** Times that a check may run out of its budget while this thread waited for a processor. */
const ATTEMPTS = 3;
/** Characters of a problem that a caller reads. */
const MAX_PROBLEM = 1000;

type Check = (args: unknown) => string | undefined;

const engine = new CfWorkerJsonSchemaValidator();
const compiled = new WeakMap<Entry, Check>();

/** Checks arguments as JSON text. Throws `invalid_params` with what is wrong and where, before anything is sent. */
export function checkArguments(entry: Entry, args: string | undefined): void {
  let check = compiled.get(entry);
  if (check === undefined) {
    check = compile(entry);
    compiled.set(entry, check);
  }
  // Plain numbers, also for `5.0`: numbers that keep their text would be objects to a schema.
  const problem = check(args === undefined ? {} : JSON.parse(args));
  if (problem !== undefined)
    throw new TollgateError('invalid_params', `Invalid arguments for ${entry.name}: ${problem}`);
}

function compile(entry: Entry): Check {
  const { inputSchema } = JSON.parse(entryText(entry, 'modern')) as { inputSchema: Record<string, unknown> };
  return schemaCheck(inputSchema);
}

/** The check of a schema: what is wrong with arguments, cut to 1000 characters, or undefined. Never throws. */
export function schemaCheck(inputSchema: Readonly<Record<string, unknown>>): Check {
  try {
    if (JSON.stringify(inputSchema).length > MAX_SCHEMA) {
      return () => `the input schema of the server is larger than ${MAX_SCHEMA} bytes and cannot be checked`;
    }
    const validate = inBudget(() =>
      engine.getValidator<unknown>(inputSchema as Parameters<typeof engine.getValidator>[0]),
    );
    return (args) => {
      try {
        const result = inBudget(() => validate(args));
        return result.valid ? undefined : result.errorMessage.slice(0, MAX_PROBLEM);
      } catch (error) {
        return unusable(error);
      }
    };
  } catch (error) {
    return () => unusable(error);
  }
}

function unusable(error: unknown): string {
  if (isTimeout(error)) {
    return `the input schema of the server takes longer than ${BUDGET_MS} ms to check them`;
  }
  const why = error instanceof Error ? error.message : String(error);
  return `the input schema of the server cannot be used: ${why.slice(0, MAX_PROBLEM)}`;
}

const room: { job: () => unknown } = { job: () => undefined };
const context = createContext(room);
const script = new Script('job()');

/**
 * Runs a job and stops it when its time is up, even inside one regular expression. Only a script of `vm` can be, and
 * that counts the time of the clock: a job that had less than half of it on a processor is run again, so that a machine
 * which is busy with something else refuses no honest call.
 */
function inBudget<T>(job: () => T): T {
  room.job = job;
  try {
    for (let attempt = 1; ; attempt++) {
      const before = process.threadCpuUsage();
      try {
        return script.runInContext(context, { timeout: BUDGET_MS }) as T;
      } catch (error) {
        if (attempt === ATTEMPTS || !isTimeout(error)) throw error;
        const { user, system } = process.threadCpuUsage(before);
        if ((user + system) / 1000 > BUDGET_MS / 2) throw error;
      }
    }
  } finally {
    room.job = () => undefined;
  }
}

function isTimeout(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT';
}
