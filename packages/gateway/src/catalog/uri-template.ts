/**
 * Does a URI fit an RFC 6570 template? Templates come from servers and URIs from clients, so every state the match
 * can be in is followed at once, one character at a time: linear in the URI, no regular expression, no backtracking
 * (CVE-2026-0621 was such a regular expression). The answer only decides which server is asked.
 */

/** Consumes one character: a literal one, or one of a class, once (`one`) or any number of times (`many`). */
type Step =
  | { readonly kind: 'char'; readonly char: string }
  | { readonly kind: 'one' | 'many'; readonly except: string }
  /** Consumes nothing: goes on here, or at `to` when an optional expression is absent. */
  | { readonly kind: 'skip'; to: number };

const LEADS = '#./;?&';
const MAX_TEMPLATE = 2048;
const MAX_EXPRESSIONS = 32;
const MAX_URI = 8192;

export class UriTemplate {
  readonly source: string;
  /** Literal text before the first expression: the longer, the more specific the template. */
  readonly prefix: string;
  readonly #steps: readonly Step[];

  private constructor(source: string, prefix: string, steps: readonly Step[]) {
    this.source = source;
    this.prefix = prefix;
    this.#steps = steps;
  }

  /** Undefined when the template is broken or beyond the caps (2048 characters, 32 expressions). */
  static compile(source: string): UriTemplate | undefined {
    if (source.length > MAX_TEMPLATE) return undefined;
    const steps: Step[] = [];
    let prefix: string | undefined;
    let expressions = 0;
    for (let at = 0; ; ) {
      const open = source.indexOf('{', at);
      const literal = source.slice(at, open < 0 ? undefined : open);
      if (literal.includes('}')) return undefined;
      prefix ??= literal;
      if (steps.length > 0) for (const char of literal) steps.push({ kind: 'char', char });
      if (open < 0) return new UriTemplate(source, prefix, steps);
      const close = source.indexOf('}', open);
      const body = source.slice(open + 1, close < 0 ? open : close);
      if (body === '' || body.includes('{') || ++expressions > MAX_EXPRESSIONS) return undefined;
      addExpression(steps, body);
      at = close + 1;
    }
  }

  /** URIs over 8192 characters fit no template. */
  matches(uri: string): boolean {
    if (uri.length > MAX_URI || !uri.startsWith(this.prefix)) return false;
    const steps = this.#steps;
    let states = follow(steps, [0]);
    for (const char of uri.slice(this.prefix.length)) {
      const next: number[] = [];
      for (const state of states) {
        const step = steps[state];
        if (step === undefined || step.kind === 'skip') continue;
        if (step.kind === 'char') {
          if (step.char === char) next.push(state + 1);
        } else if (!step.except.includes(char)) {
          next.push(step.kind === 'one' ? state + 1 : state);
        }
      }
      if (next.length === 0) return false;
      states = follow(steps, next);
    }
    return states.has(steps.length);
  }
}

/** All states reachable without a character. */
function follow(steps: readonly Step[], from: readonly number[]): Set<number> {
  const states = new Set(from);
  for (const state of states) {
    const step = steps[state];
    if (step?.kind === 'skip') states.add(step.to).add(state + 1);
    else if (step?.kind === 'many') states.add(state + 1);
  }
  return states;
}

function addExpression(steps: Step[], body: string): void {
  const operator = body[0]!;
  if (!LEADS.includes(operator)) {
    const except = operator === '+' ? '' : '/?#';
    steps.push({ kind: 'one', except }, { kind: 'many', except });
    return;
  }
  const several = body.includes(',') || body.includes('*');
  const except =
    operator === '#' ? '' : operator === '?' || operator === '&' ? '#' : operator === '/' && several ? '?#' : '/?#';
  const skip: Step = { kind: 'skip', to: 0 };
  steps.push(skip, { kind: 'char', char: operator }, { kind: 'many', except });
  skip.to = steps.length;
}
