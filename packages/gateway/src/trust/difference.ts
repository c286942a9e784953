/** What differs between two definitions, member by member, as lines that are safe on a terminal. */

/** Lines of one difference; what is more is counted. */
const MAX_LINES = 500;
/** Characters of one value that are shown, from shortly before its first difference. */
const MAX_VALUE = 1_000;
const CONTEXT = 40;

/** Controls, bidi and tag characters, zero-width and other invisible ones: shown as escapes, so that nothing hides. */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/**
 * Lines that begin with `-` for what was approved and `+` for what is offered. `before` undefined: everything is new.
 * Both are JSON texts.
 */
export function difference(before: string | undefined, after: string): string[] {
  const lines: string[] = [];
  compare('', before === undefined ? undefined : JSON.parse(before), JSON.parse(after), lines);
  if (lines.length <= MAX_LINES) return lines;
  return [...lines.slice(0, MAX_LINES), `… and ${lines.length - MAX_LINES} more lines`];
}

/** The text with everything that a terminal would obey or hide written as an escape. */
export function shown(text: string): string {
  return text.replace(HIDDEN, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`);
}

function compare(path: string, before: unknown, after: unknown, lines: string[]): void {
  if (isRecord(after) && (before === undefined || isRecord(before))) {
    const names = new Set([...Object.keys(before ?? {}), ...Object.keys(after)]);
    for (const name of [...names].toSorted()) {
      compare(join(path, name), own(before, name), own(after, name), lines);
    }
    if (names.size === 0 && before === undefined) lines.push(`+ ${path}: {}`);
    return;
  }
  if (Array.isArray(after) && Array.isArray(before)) {
    compareLists(path, before, after, lines);
    return;
  }
  const [old, made] = [text(before), text(after)];
  if (old === made) return;
  const from = old === undefined || made === undefined ? 0 : firstDifference(old, made);
  if (old !== undefined) lines.push(`- ${path}: ${cut(old, from)}`);
  if (made !== undefined) lines.push(`+ ${path}: ${cut(made, from)}`);
}

/** Plain values by what came and went, wherever they stand; others place by place. */
function compareLists(path: string, before: readonly unknown[], after: readonly unknown[], lines: string[]): void {
  if (![...before, ...after].some((value) => typeof value === 'object' && value !== null)) {
    const [old, made] = [before.map(text), after.map(text)];
    const gone = without(old, made);
    const come = without(made, old);
    for (const value of gone) lines.push(`- ${path}[]: ${cut(value ?? '', 0)}`);
    for (const value of come) lines.push(`+ ${path}[]: ${cut(value ?? '', 0)}`);
    if (gone.length + come.length === 0 && old.some((value, i) => value !== made[i])) {
      lines.push(`- ${path}: ${cut(`[${old.join(',')}]`, 0)}`, `+ ${path}: ${cut(`[${made.join(',')}]`, 0)}`);
    }
    return;
  }
  for (let i = 0; i < Math.max(before.length, after.length); i++) compare(`${path}[${i}]`, before[i], after[i], lines);
}

function without<T>(list: readonly T[], others: readonly T[]): T[] {
  const left = new Map<T, number>();
  for (const other of others) left.set(other, (left.get(other) ?? 0) + 1);
  return list.filter((value) => {
    const count = left.get(value) ?? 0;
    left.set(value, count - 1);
    return count <= 0;
  });
}

function own(value: unknown, name: string): unknown {
  return isRecord(value) && Object.hasOwn(value, name) ? value[name] : undefined;
}

function join(path: string, name: string): string {
  const plain = /^[A-Za-z_$][\w$-]*$/.test(name) ? name : undefined;
  if (plain === undefined) return `${path}[${shown(JSON.stringify(name))}]`;
  return path === '' ? plain : `${path}.${plain}`;
}

function text(value: unknown): string | undefined {
  return value === undefined ? undefined : JSON.stringify(value);
}

function firstDifference(a: string, b: string): number {
  let at = 0;
  while (at < a.length && a[at] === b[at]) at++;
  return at;
}

function cut(value: string, from: number): string {
  const start = from > CONTEXT + 20 ? from - CONTEXT : 0;
  const kept = value.slice(start, start + MAX_VALUE);
  const rest = value.length - start - kept.length;
  return `${start > 0 ? '…' : ''}${shown(kept)}${rest > 0 ? `… (${rest} more characters)` : ''}`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
