/**
 * Checks of arguments against a tool's input schema, for tools with `validate: true` (by default the server checks).
 * The engine interprets the schema, so a server's schema is never turned into code, and never fetches a `$ref`.
 */
import { CfWorkerJsonSchemaValidator } from '@modelcontextprotocol/client/validators/cf-worker';
import { type Entry, entryText } from '../catalog/merge.ts';
import { TollgateError } from '../core/errors.ts';

/** Bytes of a schema that is compiled; checking costs time on the main thread. */
const MAX_SCHEMA = 64 * 1024;

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
  if (JSON.stringify(inputSchema).length > MAX_SCHEMA) {
    return () => `the input schema of the server is larger than ${MAX_SCHEMA} bytes and cannot be checked`;
  }
  try {
    const validate = engine.getValidator<unknown>(inputSchema as Parameters<typeof engine.getValidator>[0]);
    return (args) => {
      const result = validate(args);
      return result.valid ? undefined : result.errorMessage;
    };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return () => `the input schema of the server cannot be used: ${why}`;
  }
}
