import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  compileExpression,
  type ExpressionCaller,
  ExpressionError,
  type ExpressionKind,
  ExpressionScope,
} from './expression.ts';

const ADA: ExpressionCaller = { person: 'corp/ada', tenant: 'acme', roles: ['engineer'], clientId: undefined };

function scope(args: unknown, principal = ADA): ExpressionScope {
  return new ExpressionScope({
    arguments: args === undefined || typeof args === 'string' ? args : JSON.stringify(args),
    principal,
    tier: 'gold',
    tool: 'math/render',
    server: 'math',
    endpoint: '/mcp',
    method: 'tools/call',
  });
}

const value = (source: string, kind: ExpressionKind, args?: unknown) =>
  compileExpression(source, kind).evaluate(scope(args));

describe('an expression', () => {
  it.each<[string, ExpressionKind, unknown, boolean | number]>([
    ['size(args.pages)', 'integer', { pages: ['a', 'b'] }, 2],
    ['args.pages.size() < 100', 'boolean', { pages: [] }, true],
    ['args.n * 2', 'integer', { n: 21 }, 42],
    ['args.ratio', 'number', { ratio: 0.25 }, 0.25],
    ['args.n > 1.5', 'boolean', { n: 2 }, true],
    ['has(args.force) && args.force', 'boolean', {}, false],
    ['"engineer" in caller.roles', 'boolean', undefined, true],
    ['caller.tenant == "acme" && caller.tier == "gold"', 'boolean', undefined, true],
    ['caller.client == ""', 'boolean', undefined, true],
    ['tool == server + "/render" && endpoint == "/mcp" && method == "tools/call"', 'boolean', undefined, true],
    ['args.rows.exists(r, r.kind == "x")', 'boolean', { rows: [{ kind: 'y' }, { kind: 'x' }] }, true],
    ['args.rows.filter(r, r > 1).map(r, r * 2).size()', 'integer', { rows: [1, 2, 3] }, 2],
    ['timestamp(args.at).getFullYear()', 'integer', { at: '2026-03-04T05:06:07Z' }, 2026],
    ['uint(3)', 'integer', undefined, 3],
  ])('%s', (source, kind, args, expected) => {
    expect(value(source, kind, args)).toBe(expected);
  });

  it('keeps integers exact beyond what a double holds, and tells 1 from 1.0', () => {
    expect(value('args.n == 9007199254740993', 'boolean', '{"n":9007199254740993}')).toBe(true);
    expect(value('args.n == 9007199254740992', 'boolean', '{"n":9007199254740993}')).toBe(false);
    expect(value('type(args.a) == int && type(args.b) == double', 'boolean', '{"a":1,"b":1.0}')).toBe(true);
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (n) => {
        const text = n === -(2n ** 63n) ? '(-9223372036854775807 - 1)' : `${n}`;
        expect(value(`args.n == ${text}`, 'boolean', `{"n":${n}}`)).toBe(true);
      }),
    );
  });

  it('reads arguments only when it asks for them, and says whether it does', () => {
    expect(compileExpression('caller.id == "x"', 'boolean').readsArguments).toBe(false);
    expect(compileExpression('caller.roles.all(r, r == args.role)', 'boolean').readsArguments).toBe(true);
    expect(value('caller.id == "corp/ada"', 'boolean', 'no json at all')).toBe(true);
  });

  it('sees keys of arguments as data, whatever they are called', () => {
    expect(value('args.constructor == 1 && args.__proto__ == 2', 'boolean', '{"constructor":1,"__proto__":2}')).toBe(
      true,
    );
    expect(value('has(args.toString) || "__proto__" in args || has(args.o.constructor)', 'boolean', { o: {} })).toBe(
      false,
    );
    for (const source of [
      'args.constructor',
      'args.__proto__',
      'args["constructor"]["constructor"]',
      'args.o.toString',
    ])
      expect(() => value(`${source} == 1`, 'boolean', { o: {} })).toThrow('no such key');
  });
});

describe('compiling refuses', () => {
  it.each<[string, ExpressionKind, RegExp]>([
    ['', 'boolean', /^the expression is empty$/],
    ['args.a &&', 'boolean', /^character 10: /],
    ['true &&\n  nobody', 'boolean', /^line 2, character 3: Unknown variable: nobody$/],
    ['caller.teir == "gold"', 'boolean', /^character 8: No such key: teir$/],
    ['"a" + 1', 'boolean', /no such overload: string \+ int$/],
    ['size(args.a)', 'boolean', /^the expression gives int, and true or false is needed here$/],
    ['1.5', 'integer', /^the expression gives double, and a whole number is needed here$/],
    ['args.a.matches("(a+)+$")', 'boolean', /^character 1: matches is not available because /],
    ['cel.bind(x, args.a, x == 1)', 'boolean', /is not available|no function/],
    ['["a"].join() == "a"', 'boolean', /there is no function join/],
    ['duration(args.d) > duration("1s")', 'boolean', /duration takes a text in quotes only/],
    ['process.exit()', 'boolean', /there is no function exit/],
    [`${'('.repeat(200)}true${')'.repeat(200)}`, 'boolean', /Exceeded maxDepth/],
    [`${'!'.repeat(1900)}true`, 'boolean', /Exceeded|too/],
    [Array(600).fill('1').join('+'), 'integer', /Exceeded maxAstNodes/],
    [`true || "${'a'.repeat(2000)}" == ""`, 'boolean', /at most 2000 are allowed$/],
  ])('%j', (source, kind, message) => {
    expect(() => compileExpression(source, kind)).toThrow(ExpressionError);
    expect(() => compileExpression(source, kind)).toThrow(message);
  });

  it('with one line, whatever the source is', () => {
    const piece = fc.constantFrom(
      ...['args', '.', 'a', '(', ')', '[', ']', '"', "'", '\\', '\n', '&&', '?', ':', '1', '1.', '0x', '{', '}', ','],
      ...['.map(', '.all(x,', 'has(', 'in', '-', '!', '\u0000', '\ud800', '😀', '__proto__', 'r"', 'b"', '"""', '//'],
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
        try {
          const result = compileExpression(pieces.join(''), 'boolean').evaluate(scope({ a: [1, { a: 2 }] }));
          expect(typeof result).toBe('boolean');
        } catch (error) {
          expect(error).toBeInstanceOf(ExpressionError);
          expect((error as Error).message).not.toContain('\n');
        }
      }),
      { numRuns: process.env['TOLLGATE_PROOF'] === 'full' ? 100_000 : 1000 },
    );
  });
});

describe('evaluating fails', () => {
  it.each<[string, ExpressionKind, unknown, string]>([
    ['args.n', 'boolean', { n: 'yes' }, 'the value is a string, not true or false'],
    ['args.n', 'boolean', { n: null }, 'the value is null, not true or false'],
    ['args.n', 'integer', { n: 1.5 }, 'the value is a number, not a whole number'],
    ['args.n', 'integer', { n: [1] }, 'the value is a list, not a whole number'],
    ['args.n', 'integer', '{"n":9007199254740992}', 'the value is too large a number to be exact'],
    ['args.n', 'number', '{"n":1e999}', 'the value is not finite'],
    ['0.0 / 0.0', 'number', undefined, 'the value is not finite'],
    ['args.n / 0', 'integer', { n: 1 }, 'division by zero in `args.n / 0`'],
    ['9223372036854775807 + args.n', 'integer', { n: 1 }, 'numeric overflow in `9223372036854775807 + args.n`'],
    ['args.missing > 1', 'boolean', {}, 'no such key in `missing`'],
    ['args.n > 1', 'boolean', undefined, 'no such key in `n`'],
    ['args.n > 1', 'boolean', '[1]', 'the arguments are not an object'],
  ])('%s with %j', (source, kind, args, message) => {
    expect(() => value(source, kind, args)).toThrow(new ExpressionError(message));
  });

  it('without telling what the arguments hold', () => {
    const secret = 'hunter2';
    for (const source of ['bool(args.s)', 'args[args.s] == 1', 'int(args.s) == 1', 'args.s < 1', '[1][args.s] == 1'])
      expect(() => value(source, 'boolean', { s: secret })).toThrow(
        expect.objectContaining({ message: expect.not.stringContaining(secret) }),
      );
    expect(() => value('args.s == ""', 'boolean', `{"s":"${secret}"`)).toThrow('the arguments cannot be read as JSON');
  });

  // Each would run for minutes, or build gigabytes, without the budget of steps.
  it.each([
    ['lists in lists', 'args.a.all(x, args.a.all(y, args.a.all(z, x == y || y == z || true)))'],
    ['membership', 'args.a.all(x, x in args.b)'],
    ['equality', 'args.a.exists(x, args.b == args.c)'],
    ['doubling a text', `size([args.s]${'.map(x, x + x)'.repeat(28)}[0]) > 0`],
    ['doubling a list', `size([args.a]${'.map(x, x + x)'.repeat(28)}[0]) > 0`],
    ['copies', 'args.a.map(x, args.a.map(y, args.s + args.s)).size() > 0'],
    ['time zones', 'args.t.all(t, timestamp(t).getHours("Europe/Berlin") < 24)'],
    ['deep members', 'args.a.all(x, {"a": args.d} != {"a": args.e})'],
    ['an error that || forgets', 'args.a.all(x, args.a.all(y, args.a.all(z, true))) || true'],
  ])('within bounded work: %s', (_name, source) => {
    const a = Array.from({ length: 2000 }, (_, i) => i);
    const args = {
      a,
      b: [...a, -1],
      c: [...a, -2],
      d: [[a, 1]],
      e: [[a, 2]],
      s: 'x'.repeat(1_000_000),
      t: Array(5000).fill('2026-01-01T00:00:00Z'),
    };
    expect(() => value(source, 'boolean', args)).toThrow(/^more than \d+ steps; the arguments are too large/);
  });

  it('for a search that would be quadratic, and for arguments of too many values', () => {
    const args = { s: 'a'.repeat(100_000), t: `b${'a'.repeat(50_000)}` };
    expect(() => value('args.s.contains(args.t)', 'boolean', args)).toThrow('longer than 256 characters');
    expect(() => value('size(args) == 1', 'boolean', { a: Array(100_000).fill(0) })).toThrow('more than 100000 values');
    const deep = `{"a":${'['.repeat(5000)}${']'.repeat(5000)}}`;
    expect(() => value('size(args) == 1', 'boolean', deep)).toThrow('nested deeper than 128');
  });

  it('and what is bounded for one call is whole again for the next', () => {
    const expression = compileExpression('args.a.all(x, args.a.all(y, true))', 'boolean');
    const large = scope({ a: Array(5000).fill(0) });
    expect(() => expression.evaluate(large)).toThrow('steps');
    expect(expression.evaluate(scope({ a: Array(50).fill(0) }))).toBe(true);
    expect(() => expression.evaluate(large)).toThrow('steps');
  });
});
