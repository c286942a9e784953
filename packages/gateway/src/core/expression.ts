/**
 * CEL expressions of a configuration: checked when they are loaded, bounded when they are evaluated. Conditions of
 * limits and access, costs and the `times` of prices are such expressions; see `docs/expressions.md`.
 */
import { Environment } from '@marcbachmann/cel-js';
import { meter, nodesOf, type TreeNode, withinBudget } from './expression-budget.ts';
import { ExpressionError } from './expression-error.ts';
import { celArguments } from './expression-values.ts';
import type { Principal } from './principal.ts';

export { ExpressionError } from './expression-error.ts';

/** What an expression gives: a boolean; a whole number that a double holds exactly; or any finite number. */
export type ExpressionKind = 'boolean' | 'integer' | 'number';

const MAX_SOURCE = 2000;
/** Structure of one expression; far above what a person writes. */
const STRUCTURE = { maxAstNodes: 500, maxDepth: 32, maxListElements: 200, maxMapEntries: 50, maxCallArguments: 8 };

/**
 * Everything that can be called. Left out: `matches` (backtracks), `join`, `cel.bind` and bytes (build values of any
 * size from small ones). `duration` reads its text in quadratic time, so that it takes a literal only.
 */
const FUNCTIONS = new Set([
  ...['has', 'size', 'all', 'exists', 'exists_one', 'map', 'filter'],
  ...['startsWith', 'endsWith', 'contains', 'indexOf', 'lastIndexOf', 'substring', 'split', 'trim'],
  ...['lowerAscii', 'upperAscii', 'int', 'uint', 'double', 'string', 'bool', 'dyn', 'type', 'timestamp', 'duration'],
  ...['getFullYear', 'getMonth', 'getDate', 'getDayOfMonth', 'getDayOfWeek', 'getDayOfYear'],
  ...['getHours', 'getMinutes', 'getSeconds', 'getMilliseconds'],
]);

const RESULTS: Readonly<Record<ExpressionKind, readonly string[]>> = {
  boolean: ['bool', 'dyn'],
  integer: ['int', 'uint', 'dyn'],
  number: ['int', 'uint', 'double', 'dyn'],
};
const WANTED: Readonly<Record<ExpressionKind, string>> = {
  boolean: 'true or false',
  integer: 'a whole number',
  number: 'a number',
};

/** `caller` in an expression. Texts that the caller has no value for are empty. */
class Caller {
  readonly id: string;
  readonly tenant: string;
  readonly tier: string;
  readonly roles: string[];
  readonly client: string;
  readonly scopes: string[];
  readonly #claims: Readonly<Record<string, unknown>> | undefined;

  constructor(principal: ExpressionCaller, tier: string) {
    this.id = principal.person;
    this.tenant = principal.tenant ?? '';
    this.tier = tier;
    this.roles = [...principal.roles];
    this.client = principal.clientId ?? '';
    this.scopes = [...(principal.scopes ?? [])];
    this.#claims = principal.claims;
  }

  /** Verified claims of the token; empty where the caller has none. */
  get claims(): ReadonlyMap<string, unknown> {
    return this.#claims === undefined ? NO_CLAIMS : claimsOf(this.#claims);
  }
}

const NO_CLAIMS: ReadonlyMap<string, unknown> = new Map();
/** A token is asked about in many calls; its claims are frozen. */
const readClaims = new WeakMap<object, ReadonlyMap<string, unknown>>();

function claimsOf(claims: Readonly<Record<string, unknown>>): ReadonlyMap<string, unknown> {
  let known = readClaims.get(claims);
  if (known === undefined) {
    known = celArguments(JSON.stringify(claims));
    readClaims.set(claims, known);
  }
  return known;
}

/** The part of a principal that expressions see. `caller.id` is without the tenant, which stands beside it. */
export type ExpressionCaller = Pick<Principal, 'person' | 'tenant' | 'roles' | 'clientId'> &
  Partial<Pick<Principal, 'scopes' | 'claims'>>;

export interface ScopeOptions {
  /** JSON text of the call's arguments; undefined: none, an empty map. Read only when an expression asks for them. */
  readonly arguments: string | undefined;
  readonly principal: ExpressionCaller;
  /** The tier in force for the caller. */
  readonly tier: string;
  /** Canonical id `server/tool`; undefined (empty in expressions) for what is not a tool. */
  readonly tool: string | undefined;
  readonly server: string | undefined;
  readonly endpoint: string;
  readonly method: string;
}

/**
 * What the expressions of one call see: `args`, `caller`, `tool`, `server`, `endpoint`, `method`. Make one per call,
 * and only where an expression is in force; its arguments are parsed once.
 */
export class ExpressionScope {
  readonly tool: string;
  readonly server: string;
  readonly endpoint: string;
  readonly method: string;
  readonly #options: ScopeOptions;
  #args: ReadonlyMap<string, unknown> | ExpressionError | undefined;
  #caller: Caller | undefined;

  constructor(options: ScopeOptions) {
    this.#options = options;
    this.tool = options.tool ?? '';
    this.server = options.server ?? '';
    this.endpoint = options.endpoint;
    this.method = options.method;
  }

  get args(): ReadonlyMap<string, unknown> {
    // A failure is kept as well: an expression that asks a hundred times must not parse a hundred times.
    this.#args ??= attempt(this.#options.arguments);
    if (this.#args instanceof ExpressionError) throw this.#args;
    return this.#args;
  }

  get caller(): Caller {
    this.#caller ??= new Caller(this.#options.principal, this.#options.tier);
    return this.#caller;
  }
}

function attempt(text: string | undefined): ReadonlyMap<string, unknown> | ExpressionError {
  try {
    return celArguments(text);
  } catch (error) {
    return error instanceof ExpressionError ? error : new ExpressionError('the arguments cannot be read');
  }
}

/** A compiled expression. Holds no state between evaluations. */
export interface Expression {
  readonly source: string;
  readonly kind: ExpressionKind;
  /** True when it reads `args`: then its value cannot be found again from a record without argument values. */
  readonly readsArguments: boolean;
  /** Which of `args`, `caller`, `tool`, `server`, `endpoint`, `method` its value depends on. */
  readonly reads: ReadonlySet<string>;
  /**
   * The value for a call. Throws ExpressionError when it fails, takes too many steps, or is not of the kind: an
   * `integer` is safe, a `number` finite; either may be negative.
   */
  evaluate(scope: ExpressionScope): boolean | number;
}

let environment: Environment | undefined;

/**
 * Compiles a CEL expression and checks its syntax, names and types. Throws ExpressionError with one line that says
 * where and what. Sources are at most 2,000 characters.
 */
export function compileExpression(source: string, kind: ExpressionKind): Expression {
  if (source.trim() === '') throw new ExpressionError('the expression is empty');
  if (source.length > MAX_SOURCE) {
    throw new ExpressionError(`the expression has ${source.length} characters; at most ${MAX_SOURCE} are allowed`);
  }
  const parsed = parse(source);
  const tree = parsed.ast as unknown as TreeNode;
  const reads = new Set<string>();
  for (const node of nodesOf(tree)) {
    refuseForbidden(node, source);
    if (node.op === 'id' && typeof node.args === 'string') reads.add(node.args);
  }
  const checked = parsed.check();
  if (!checked.valid) throw located(checked.error, source);
  if (!RESULTS[kind].includes(checked.type!)) {
    throw new ExpressionError(`the expression gives ${checked.type}, and ${WANTED[kind]} is needed here`);
  }
  meter(tree);
  return new CompiledExpression(source, kind, reads, parsed);
}

class CompiledExpression implements Expression {
  readonly source: string;
  readonly kind: ExpressionKind;
  readonly readsArguments: boolean;
  readonly reads: ReadonlySet<string>;
  readonly #run: (scope: ExpressionScope) => unknown;

  constructor(
    source: string,
    kind: ExpressionKind,
    reads: ReadonlySet<string>,
    run: (scope: ExpressionScope) => unknown,
  ) {
    this.source = source;
    this.kind = kind;
    this.reads = reads;
    this.readsArguments = reads.has('args');
    this.#run = run;
  }

  evaluate(scope: ExpressionScope): boolean | number {
    let value: unknown;
    try {
      value = withinBudget(() => this.#run(scope));
    } catch (error) {
      throw error instanceof ExpressionError ? error : failed(error, this.source);
    }
    return this.#typed(value);
  }

  #typed(value: unknown): boolean | number {
    if (this.kind === 'boolean') {
      if (typeof value === 'boolean') return value;
    } else {
      const whole = wholeOf(value);
      if (whole !== undefined) {
        if (whole <= Number.MAX_SAFE_INTEGER && whole >= Number.MIN_SAFE_INTEGER) return Number(whole);
        throw new ExpressionError('the value is too large a number to be exact');
      }
      if (this.kind === 'number' && typeof value === 'number' && Number.isFinite(value)) return value;
      if (typeof value === 'number' && !Number.isFinite(value)) throw new ExpressionError('the value is not finite');
    }
    throw new ExpressionError(`the value is ${nameOfType(value)}, not ${WANTED[this.kind]}`);
  }
}

function wholeOf(value: unknown): bigint | undefined {
  if (typeof value === 'bigint') return value;
  // An unsigned integer of CEL.
  const inner = typeof value === 'object' && value !== null ? value.valueOf() : undefined;
  return typeof inner === 'bigint' ? inner : undefined;
}

function nameOfType(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (value instanceof Map) return 'a map';
  return typeof value === 'object' || value === undefined ? 'an object' : `a ${typeof value}`;
}

function parse(source: string) {
  environment ??= new Environment({ limits: STRUCTURE, homogeneousAggregateLiterals: false })
    .registerType('Caller', {
      ctor: Caller,
      fields: {
        id: 'string',
        tenant: 'string',
        tier: 'string',
        roles: 'list<string>',
        client: 'string',
        scopes: 'list<string>',
        claims: 'map<string, dyn>',
      },
    })
    .registerVariable('args', 'map<string, dyn>')
    .registerVariable('caller', 'Caller')
    .registerVariable('tool', 'string')
    .registerVariable('server', 'string')
    .registerVariable('endpoint', 'string')
    .registerVariable('method', 'string');
  try {
    return environment.parse(source);
  } catch (error) {
    throw located(error, source);
  }
}

function refuseForbidden(node: TreeNode, source: string): void {
  if (node.op === 'id' && node.args === 'cel') {
    throw new ExpressionError(`${place(source, node.start)}: cel.bind is not available`);
  }
  if (node.op !== 'call' && node.op !== 'rcall') return;
  const [name, first, second] = node.args as readonly [string, TreeNode | readonly TreeNode[], (readonly TreeNode[])?];
  if (name === 'matches') {
    throw new ExpressionError(
      `${place(source, node.start)}: matches is not available because patterns can take forever; use startsWith, endsWith, contains or ==`,
    );
  }
  if (!FUNCTIONS.has(name)) throw new ExpressionError(`${place(source, node.start)}: there is no function ${name}`);
  const parameters = second ?? (Array.isArray(first) ? (first as readonly TreeNode[]) : []);
  if (name === 'duration' && parameters[0]?.op !== 'value') {
    throw new ExpressionError(`${place(source, node.start)}: duration takes a text in quotes only`);
  }
}

interface CelError {
  readonly summary?: string;
  readonly code?: string;
  readonly range?: { readonly start: number; readonly end: number };
}

/** A mistake in the source; what the library says quotes only the source. */
function located(error: unknown, source: string): ExpressionError {
  const { summary, range } = error as CelError;
  const what = oneLine(summary ?? (error instanceof Error ? error.message : String(error)));
  return new ExpressionError(range === undefined ? what : `${place(source, range.start)}: ${what}`);
}

/** A failed evaluation; what the library says may quote arguments, so that only its code and the place are told. */
function failed(error: unknown, source: string): ExpressionError {
  const { code, range } = error as CelError;
  const what =
    typeof code === 'string' && /^[a-z_]{1,40}$/.test(code) ? code.replaceAll('_', ' ') : 'evaluation failed';
  if (range === undefined) return new ExpressionError(what);
  return new ExpressionError(`${what} in \`${oneLine(source.slice(range.start, range.end)) || source[range.start]}\``);
}

function place(source: string, position: number): string {
  const before = source.slice(0, position);
  const line = before.split('\n').length;
  const column = position - before.lastIndexOf('\n');
  return line === 1 ? `character ${column}` : `line ${line}, character ${column}`;
}

function oneLine(text: string): string {
  const flat = text.replace(/\s+/g, ' ').trim();
  return flat.length <= 200 ? flat : `${flat.slice(0, 200)}…`;
}
