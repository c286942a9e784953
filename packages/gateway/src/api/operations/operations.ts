/**
 * The operations as one function: a JSON request in, a JSON answer out, whatever carries them (`POST /v1/ops`,
 * `tollgate op`, the library's `process`). Nothing that a caller sends makes it throw.
 */
import { TollgateError } from '../../core/errors.ts';
import { type Log, silentLog } from '../../core/log.ts';
import type { OperationsPort } from '../../pipeline/operations-port.ts';
import { MAX_ITEMS } from './bounds.ts';
import { type Caller, LIBRARY } from './caller.ts';
import { type OperationInput, readInput } from './input.ts';
import { type Operation, type OperationContext, OperationRegistry, type OperationResult } from './operation.ts';
import { OperationProblem } from './problem.ts';
import { findingsOf, type SecurityMetadata, securityMetadata } from './security-metadata.ts';
import { standardOperations } from './standard.ts';

/** Every answer has these; the others depend on the operation. */
export interface OperationAnswer {
  readonly status: 'success' | 'error';
  readonly operation: string;
  /** Of a denial or an error: why, from a closed list. */
  readonly reason?: string;
  /** Only of errors: one sentence for people. */
  readonly error?: string;
  /** Milliseconds, with decimals. In a batch: of the whole group that was decided in one step. */
  readonly processing_time_ms: number;
  readonly security_metadata: SecurityMetadata;
  readonly [member: string]: unknown;
}

export interface OperationsOptions {
  /** Default: the standard operations. Add own ones to `new OperationRegistry(standardOperations())`. */
  readonly registry?: OperationRegistry;
  /** Where unexpected failures go; callers see only `internal`. Default: silent. */
  readonly log?: Log;
}

export class Operations {
  readonly registry: OperationRegistry;
  readonly port: OperationsPort;
  readonly #log: Log;

  constructor(port: OperationsPort, options: OperationsOptions = {}) {
    this.port = port;
    this.registry = options.registry ?? new OperationRegistry(standardOperations());
    this.#log = options.log ?? silentLog;
  }

  /**
   * One operation for this process itself, as admin: `cfg` overrides `ctx`, null counts as absent. An array as `ctx`
   * is a batch, and the answer an array. Never rejects.
   */
  process(ctx: readonly unknown[], cfg?: unknown): Promise<readonly OperationAnswer[]>;
  process(ctx: unknown, cfg?: unknown): Promise<OperationAnswer>;
  async process(ctx: unknown, cfg?: unknown): Promise<OperationAnswer | readonly OperationAnswer[]> {
    return Array.isArray(ctx) ? this.runBatch(ctx, LIBRARY, cfg) : this.run(ctx, LIBRARY, cfg);
  }

  /** One operation for a caller. Never rejects. */
  async run(ctx: unknown, caller: Caller, cfg?: unknown): Promise<OperationAnswer> {
    return (await this.#runList([ctx], caller, cfg))[0]!;
  }

  /**
   * Many operations, at most 1000, in order; neighbouring checks are decided in one step of the limiter. `cfg` is
   * merged into each. Too many: one error in place of the list's answers.
   */
  async runBatch(list: readonly unknown[], caller: Caller, cfg?: unknown): Promise<readonly OperationAnswer[]> {
    if (list.length <= MAX_ITEMS) return this.#runList(list, caller, cfg);
    const started = this.port.now();
    const problem = new OperationProblem('input_too_large', `A batch has at most ${MAX_ITEMS} operations.`);
    return [this.#failed(problem, 'batch', started, securityMetadata(undefined, 0, [problem.message]))];
  }

  async #runList(list: readonly unknown[], caller: Caller, cfg: unknown): Promise<OperationAnswer[]> {
    const prepared = list.map((ctx) => this.#prepare(ctx, caller, cfg));
    const answers: OperationAnswer[] = [];
    for (let at = 0; at < prepared.length; ) {
      const group = neighbours(prepared, at);
      answers.push(...(await this.#runGroup(group)));
      at += group.length;
    }
    return answers;
  }

  #prepare(ctx: unknown, caller: Caller, cfg: unknown): Prepared {
    const started = this.port.now();
    let read: OperationInput | undefined;
    try {
      read = readInput(ctx, cfg);
      const metadata = this.#metadata(read, started, []);
      const name = read.operation;
      const operation = this.registry.get(name);
      const supported = this.registry.names;
      if (operation === undefined) {
        throw new OperationProblem('unknown_operation', `Unknown operation: ${shown(name)}`, {
          supported_operations: supported,
        });
      }
      if (!operation.roles.some((role) => caller.roles.includes(role))) {
        throw new OperationProblem('access_denied', `${name} needs one of the roles ${operation.roles.join(', ')}.`);
      }
      const input = parse(operation, read);
      const context: OperationContext = { port: this.port, caller, supported, members: read.members };
      return { started, metadata, name, ready: { operation, input, context } };
    } catch (thrown) {
      const warning = thrown instanceof OperationProblem ? thrown.message : 'Internal error';
      const metadata = this.#metadata(read, started, [warning]);
      return { started, metadata, name: read === undefined ? 'unknown' : shown(read.operation), thrown };
    }
  }

  #metadata(read: OperationInput | undefined, started: number, problems: readonly string[]): SecurityMetadata {
    if (read !== undefined) findingsOf(read.members);
    return securityMetadata(read, this.port.now() - started, problems);
  }

  async #runGroup(group: readonly Prepared[]): Promise<OperationAnswer[]> {
    const [first] = group;
    if (first?.ready === undefined) return group.map((one) => this.#failedOf(one, one.thrown));
    const { operation } = first.ready;
    const inputs = group.map((one) => one.ready!.input);
    const contexts = group.map((one) => one.ready!.context);
    let results: readonly PromiseSettledResult<OperationResult>[];
    try {
      results =
        operation.runAll === undefined
          ? [{ status: 'fulfilled', value: await operation.run(inputs[0] as never, contexts[0]!) }]
          : await operation.runAll(inputs as never[], contexts);
    } catch (reason) {
      results = group.map(() => ({ status: 'rejected', reason }));
    }
    return group.map((one, i) => {
      const result = results[i];
      if (result?.status !== 'fulfilled') return this.#failedOf(one, result?.reason);
      return {
        status: 'success',
        ...result.value,
        operation: one.name,
        processing_time_ms: this.port.now() - one.started,
        security_metadata: one.metadata,
      };
    });
  }

  #failedOf(one: Prepared, thrown: unknown): OperationAnswer {
    return this.#failed(thrown, one.name, one.started, one.metadata);
  }

  #failed(thrown: unknown, operation: string, started: number, metadata: SecurityMetadata): OperationAnswer {
    const { reason, message, extra } = this.#problemOf(thrown);
    return {
      status: 'error',
      operation,
      error: message,
      reason,
      ...extra,
      processing_time_ms: this.port.now() - started,
      security_metadata: metadata,
    };
  }

  #problemOf(thrown: unknown): OperationProblem {
    if (thrown instanceof OperationProblem) return thrown;
    if (TollgateError.is(thrown) && thrown.code !== 'internal') {
      const reason = thrown.code === 'invalid_params' ? 'invalid_input' : 'unavailable';
      const { retryAfterSeconds } = thrown;
      return new OperationProblem(
        reason,
        thrown.message,
        retryAfterSeconds === undefined ? {} : { retry_after_seconds: retryAfterSeconds },
      );
    }
    this.#log.error({ err: TollgateError.is(thrown) ? thrown.cause : thrown }, 'an operation failed');
    return new OperationProblem('internal', 'Internal error');
  }
}

interface Prepared {
  readonly started: number;
  readonly metadata: SecurityMetadata;
  readonly name: string;
  readonly ready?: { readonly operation: Operation; readonly input: unknown; readonly context: OperationContext };
  readonly thrown?: unknown;
}

/** From `at` on, what can run in one go: the same operation, where that has `runAll`. */
function neighbours(prepared: readonly Prepared[], at: number): readonly Prepared[] {
  const operation = prepared[at]?.ready?.operation;
  let end = at + 1;
  if (operation?.runAll !== undefined) while (prepared[end]?.ready?.operation === operation) end++;
  return prepared.slice(at, end);
}

function parse(operation: Operation, { members }: OperationInput): unknown {
  const parsed = operation.input.safeParse({ ...members });
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const problem = issue?.code === 'custom' ? (issue.params?.['problem'] as unknown) : undefined;
  if (problem instanceof OperationProblem) throw problem;
  const where = issue?.path.join('.') ?? '';
  const message = issue?.message ?? 'The input is invalid';
  throw new OperationProblem('invalid_input', message.startsWith(where) ? message : `${where}: ${message}`);
}

/** A name as a caller sent it, fit for an answer. */
function shown(name: string): string {
  const plain = name.replace(/[^\x20-\x7e]/g, '?');
  return plain.length > 100 ? `${plain.slice(0, 97)}...` : plain;
}
