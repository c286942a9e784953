/**
 * Transformers of requests and responses, registered by name and composed once per configuration. What they change
 * is what is sent; what goes wrong in one ends the call before anything ran, and its cause is only in the log.
 */
import { TollgateError } from '../core/errors.ts';
import type { Call } from '../protocol/call.ts';

export type JsonObject = Record<string, unknown>;

/** What a transformer may know about its call. */
export type TransformedCall = Readonly<
  Pick<Call, 'method' | 'era' | 'endpoint' | 'transport' | 'principal' | 'canonicalId' | 'server' | 'decisionId'>
>;

/**
 * Sees the parsed arguments of a `tools/call` before dispatch. Returns the arguments to send in their place (the same
 * object, changed, will do), or nothing to leave them. Throws a TollgateError to refuse the call with that error.
 * Synchronous: it runs on the way of every call.
 */
// biome-ignore lint/suspicious/noConfusingVoidType: a transformer that only looks has no return statement
export type RequestTransformer = (call: TransformedCall, args: JsonObject) => JsonObject | void;

/**
 * Sees the parsed result of a `tools/call` before the caller does. Returns the result to give in its place, or nothing
 * to leave it. Throws a TollgateError to give the caller that error; the call has run then.
 */
// biome-ignore lint/suspicious/noConfusingVoidType: as above
export type ResponseTransformer = (call: TransformedCall, result: JsonObject) => JsonObject | void;

/** What became of a request or response: passed as it is, passed changed, or not passed. */
export type TransformVerdict =
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'changed'; readonly value: JsonObject }
  | { readonly kind: 'refused'; readonly error: TollgateError };

/** One chain, composed. Never throws. The given object may be changed by it: give it one of its own. */
export type TransformChain = (call: TransformedCall, value: JsonObject) => TransformVerdict;

/** `undefined` where nothing is registered, so that nobody parses for nothing. */
export interface TransformChains {
  readonly request: TransformChain | undefined;
  readonly response: TransformChain | undefined;
}

const UNCHANGED: TransformVerdict = Object.freeze({ kind: 'unchanged' });

export class TransformRegistry {
  readonly #requests = new Map<string, RequestTransformer>();
  readonly #responses = new Map<string, ResponseTransformer>();

  /** Registers under a name, unique among the request transformers; they run in the order of registration. */
  addRequest(name: string, transformer: RequestTransformer): this {
    register(this.#requests, 'request', name, transformer);
    return this;
  }

  /** Registers under a name, unique among the response transformers; they run in the order of registration. */
  addResponse(name: string, transformer: ResponseTransformer): this {
    register(this.#responses, 'response', name, transformer);
    return this;
  }

  /** The names in force, for `explain` and `status`. */
  get names(): { readonly request: readonly string[]; readonly response: readonly string[] } {
    return { request: [...this.#requests.keys()], response: [...this.#responses.keys()] };
  }

  /** The chains of what is registered now; later registrations do not change them. */
  compose(): TransformChains {
    return { request: chain(this.#requests, 'no'), response: chain(this.#responses, 'yes') };
  }
}

type Transformer = RequestTransformer | ResponseTransformer;

function register<T extends Transformer>(map: Map<string, T>, side: string, name: string, transformer: T): void {
  if (typeof transformer !== 'function') throw new TypeError(`the ${side} transformer ${name} is not a function`);
  if (map.has(name)) {
    throw new TollgateError('config_invalid', `A ${side} transformer is already called ${name}; choose another name.`);
  }
  map.set(name, transformer);
}

function chain(transformers: ReadonlyMap<string, Transformer>, executed: 'no' | 'yes'): TransformChain | undefined {
  if (transformers.size === 0) return undefined;
  const steps = [...transformers];
  return (call, given) => {
    let value = given;
    let changed = false;
    for (const [name, transformer] of steps) {
      let returned: unknown;
      try {
        returned = transformer(call, value);
      } catch (error) {
        return { kind: 'refused', error: refusal(error, name, executed) };
      }
      if (returned === undefined) continue;
      if (!isObject(returned)) {
        swallow(returned);
        const cause = new TypeError(
          `transformer ${name} returned ${describe(returned)}, not a plain object or nothing`,
        );
        return { kind: 'refused', error: refusal(cause, name, executed) };
      }
      value = returned;
      changed = true;
    }
    return changed ? { kind: 'changed', value } : UNCHANGED;
  };
}

function refusal(error: unknown, name: string, executed: 'no' | 'yes'): TollgateError {
  if (TollgateError.is(error)) return executed === 'no' || error.executed === executed ? error : ran(error);
  const cause = new Error(`transformer ${name} failed`, { cause: error });
  return new TollgateError('internal', 'Internal error', { cause, executed });
}

/** The error of a response transformer: it need not know to say that the call has run. */
function ran({ code, message, cause, data, retryAfterSeconds, http, rpc }: TollgateError): TollgateError {
  const retry = retryAfterSeconds === undefined ? {} : { retryAfterSeconds };
  return new TollgateError(code, message, { cause, data, ...retry, http, rpc, executed: 'yes' });
}

function isObject(value: unknown): value is JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return !('then' in value && typeof value.then === 'function');
}

/** A rejected promise that nobody waits for would end the process. */
function swallow(value: unknown): void {
  if (value instanceof Promise) value.catch(() => {});
}

function describe(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'a promise' : `a ${typeof value}`;
}
