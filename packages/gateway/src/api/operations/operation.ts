/** What an operation is, and the list of those that exist. */
import type { z } from 'zod';
import type { Role } from '../../access/rights.ts';
import type { OperationsPort } from '../../pipeline/operations-port.ts';
import type { PlainObject } from './bounds.ts';
import type { Caller } from './caller.ts';

/** What an operation answers beside the members that every answer has; see `docs/operations-api.md`. */
export interface OperationResult {
  readonly [member: string]: unknown;
}

export interface OperationContext {
  readonly port: OperationsPort;
  readonly caller: Caller;
  /** Names of all operations, in the order of registration. */
  readonly supported: readonly string[];
  /** The whole input: bounded plain data, null left out. */
  readonly members: PlainObject;
}

export interface OperationOptions<Schema extends z.ZodType> {
  /** Lower case with underscores. */
  readonly name: string;
  /** One sentence for `tollgate op list`: what it does. */
  readonly about: string;
  /** Any of these may ask; whom they may ask about is decided by `subjectOf`. Never empty. */
  readonly roles: readonly [Role, ...Role[]];
  /** Of the members that the operation reads; others are ignored, as the original did. */
  readonly input: Schema;
  /** Throws an OperationProblem for what it refuses; anything else thrown is masked as `internal`. */
  readonly run: (input: z.output<Schema>, context: OperationContext) => Promise<OperationResult>;
  /** Neighbours of the same name in a batch, in one go and in order. Rejected as a whole, each fails that way. */
  readonly runAll?: (
    inputs: readonly z.output<Schema>[],
    contexts: readonly OperationContext[],
  ) => Promise<readonly PromiseSettledResult<OperationResult>[]>;
}

/** An operation with its input type forgotten, as the registry keeps it. */
export interface Operation {
  readonly name: string;
  readonly about: string;
  readonly roles: readonly [Role, ...Role[]];
  readonly input: z.ZodType;
  readonly run: (input: never, context: OperationContext) => Promise<OperationResult>;
  readonly runAll:
    | ((
        inputs: readonly never[],
        contexts: readonly OperationContext[],
      ) => Promise<readonly PromiseSettledResult<OperationResult>[]>)
    | undefined;
}

const NAME = /^[a-z][a-z0-9_]{0,63}$/;

/**
 * Describes an operation: its name, who may ask, the zod schema of what it reads, and what it does. Throws a TypeError
 * for a name that is not lower case with underscores, an empty `about`, or no roles.
 */
export function defineOperation<Schema extends z.ZodType>(options: OperationOptions<Schema>): Operation {
  const { name, about, roles, input, run, runAll } = options;
  if (!NAME.test(name))
    throw new TypeError(`An operation must be named like check_mcp_limit, not ${JSON.stringify(name)}`);
  if (about.trim() === '') throw new TypeError(`The operation ${name} needs a sentence that says what it does (about)`);
  if (roles.length === 0)
    throw new TypeError(`The operation ${name} needs at least one role; without, nobody may ask it`);
  return Object.freeze({ name, about, roles, input, run, runAll });
}

/** The operations that can be asked. Refuses two of one name: the later would silently take the calls of the first. */
export class OperationRegistry {
  readonly #byName = new Map<string, Operation>();

  constructor(operations: Iterable<Operation> = []) {
    for (const operation of operations) this.add(operation);
  }

  /** Adds one. Throws a TypeError when the name is taken. */
  add(operation: Operation): this {
    if (this.#byName.has(operation.name)) throw new TypeError(`There is an operation ${operation.name} already`);
    this.#byName.set(operation.name, operation);
    return this;
  }

  get(name: string): Operation | undefined {
    return this.#byName.get(name);
  }

  get names(): readonly string[] {
    return [...this.#byName.keys()];
  }

  /** For `tollgate op list`. */
  list(): readonly { readonly name: string; readonly about: string; readonly roles: readonly Role[] }[] {
    return [...this.#byName.values()].map(({ name, about, roles }) => ({ name, about, roles }));
  }
}
