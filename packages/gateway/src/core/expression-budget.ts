/**
 * Bounds the work of one evaluation. CEL always ends, but not soon: lists inside lists over a caller's arguments are
 * quadratic, and a list of a megabyte is in every caller's hands. Each node of the syntax tree pays for what it
 * gives back, so that whatever is built or walked was paid for before. The library has no such bound, so that the
 * nodes' own functions are wrapped; a test proves that the bound holds with the installed version.
 */
import { ExpressionError } from './expression-error.ts';

/** About the number of values and characters / 32 that one evaluation may touch: at worst some tens of milliseconds. */
const STEPS = 300_000;
/** A text searched for may be this long: longer ones make the search itself quadratic. */
const MAX_NEEDLE = 256;
const SEARCHES = new Set(['contains', 'indexOf', 'lastIndexOf', 'split']);
/** Functions on time with a time zone are slow. */
const TIME_STEPS = 2000;

/** One for all: a loop that goes on after the end of its budget must not make a stack trace per step. */
const EXHAUSTED = new ExpressionError(`more than ${STEPS} steps; the arguments are too large for this expression`);
const LONG_NEEDLE = new ExpressionError(`the text to search for is longer than ${MAX_NEEDLE} characters`);

type Evaluate = (evaluator: unknown, node: TreeNode, context: unknown) => unknown;

/** The part of the library's syntax tree that is used here. */
export interface TreeNode {
  readonly op: string;
  readonly args: unknown;
  readonly start: number;
  readonly end: number;
  readonly meta: { readonly evaluate: Evaluate; readonly alternate?: TreeNode; readonly macro?: unknown };
  evaluate: Evaluate;
}

let left = 0;

/** Runs one evaluation within its budget. Not re-entrant: expressions have no way to call one another. */
export function withinBudget(run: () => unknown): unknown {
  left = STEPS;
  const value = run();
  // `a || b` and the quantifiers forget errors of one side when the other decides.
  if (left < 0) throw EXHAUSTED;
  return value;
}

/** Wraps the nodes of a checked tree. Call it once, before the first evaluation. */
export function meter(node: TreeNode): void {
  const alternate = node.meta.alternate;
  if (alternate !== undefined) {
    meter(alternate);
    return;
  }
  // `has(a.b.c)`: as many steps as it has dots.
  if (node.meta.macro !== undefined || node.op === 'value') return;
  if (node.op === 'comprehension') {
    const { iterable, step } = node.args as { readonly iterable: TreeNode; readonly step: TreeNode };
    meter(iterable);
    meterStep(step);
  } else {
    for (const child of childrenOf(node)) meter(child);
  }
  if (node.op === '==' || node.op === '!=' || node.op === 'in')
    for (const child of childrenOf(node)) wrap(child, payDeep);
  if (node.op === 'rcall') meterMethod(node);
  wrap(node, pay);
}

/** The step of a comprehension is made by the library and hands the same growing list on: it pays one. */
function meterStep(step: TreeNode): void {
  if (step.op === 'accuPush') {
    meter(step.args as TreeNode);
  } else if (step.op === '?:') {
    const [condition, then] = step.args as readonly TreeNode[];
    meter(condition!);
    if (then!.op === 'accuPush') meterStep(then!);
  }
  wrap(step, payOne);
}

function meterMethod(node: TreeNode): void {
  const [name, , parameters] = node.args as readonly [string, TreeNode, readonly TreeNode[]];
  if (SEARCHES.has(name)) for (const needle of parameters) wrap(needle, refuseLong);
  if (name.startsWith('get')) wrap(node, payTime);
}

/** Every node of the tree as it was written, macros included, parents first. */
export function* nodesOf(node: TreeNode): Generator<TreeNode> {
  yield node;
  for (const child of childrenOf(node)) yield* nodesOf(child);
}

function childrenOf(node: TreeNode): readonly TreeNode[] {
  return node.op === 'value' || node.op === 'id' ? [] : ([node.args].flat(3) as unknown[]).filter(isNode);
}

function isNode(value: unknown): value is TreeNode {
  return typeof value === 'object' && value !== null && 'op' in value && 'meta' in value;
}

function wrap(node: TreeNode, toll: (value: unknown) => void): void {
  const target = node.meta.alternate ?? node;
  // Until its first evaluation a node has no function of its own, and then it takes the one of `meta`.
  const inner: Evaluate = Object.hasOwn(target, 'evaluate') ? target.evaluate : target.meta.evaluate;
  if (target.meta.macro !== undefined) return;
  target.evaluate = (evaluator, self, context) => {
    if (left < 0) throw EXHAUSTED;
    const value = inner(evaluator, self, context);
    toll(value);
    if (left < 0) throw EXHAUSTED;
    return value;
  };
}

function pay(value: unknown): void {
  left -= 1 + sizeOf(value);
}

function payOne(): void {
  left--;
}

function payTime(): void {
  left -= TIME_STEPS;
}

/** Before a comparison, which may walk all of both sides. A map written in the source is a plain object. */
function payDeep(value: unknown): void {
  if (typeof value !== 'object' || value === null) return;
  const members = value instanceof Map || Array.isArray(value) ? value.values() : Object.values(value);
  for (const member of members) {
    left -= 1 + sizeOf(member);
    if (left < 0) return;
    payDeep(member);
  }
}

function refuseLong(value: unknown): void {
  if (typeof value === 'string' && value.length > MAX_NEEDLE) throw LONG_NEEDLE;
}

function sizeOf(value: unknown): number {
  if (typeof value === 'string') return value.length >>> 5;
  if (Array.isArray(value)) return value.length;
  return value instanceof Map ? value.size : 0;
}
