import { doubt, type Finding, type KeyPath, mistake, suggest } from '../problems.ts';
import { isRecord } from '../values.ts';

/** What the keys of a map mean to Tollgate. */
export interface Keys {
  readonly used: readonly string[];
  /** Features that Tollgate does not have: refused by name, unless their value switches them off. */
  readonly later?: readonly string[];
  /** Without effect here, and harmless: said in a warning. */
  readonly idle?: readonly string[];
  /** About pods and the cluster: Kubernetes obeys them, Tollgate need not. */
  readonly cluster?: readonly string[];
}

/** A place in a file of ToolHive: its value, where it stands, and the one list that findings go to. */
export class Cursor {
  readonly value: unknown;
  readonly path: KeyPath;
  readonly findings: Finding[];

  constructor(value: unknown, path: KeyPath, findings: Finding[]) {
    this.value = value;
    this.path = path;
    this.findings = findings;
  }

  /** False for a missing key and for `null`, which are the same to Go. */
  get present(): boolean {
    return this.value !== undefined && this.value !== null;
  }

  at(key: string | number): Cursor {
    const { value: all } = this;
    const value = typeof all === 'object' && all !== null && Object.hasOwn(all, key) ? (all as never)[key] : undefined;
    return new Cursor(value, [...this.path, key], this.findings);
  }

  /** Messages of ToolHive end without a full stop; one is put before what Tollgate adds. */
  refuse(what: string, fix = ''): void {
    const said = fix === '' || /[.?!)]$/.test(what) ? what : `${what}.`;
    this.findings.push(mistake(this.path, said, fix));
  }

  warn(what: string, fix = ''): void {
    this.findings.push(doubt(this.path, what, fix));
  }

  /** The text here; undefined when there is none, which is a mistake only where something else stands. */
  text(): string | undefined {
    if (typeof this.value === 'string') return this.value === '' ? undefined : this.value;
    if (this.present) this.refuse('Must be text.', 'Put quotes round it.');
    return undefined;
  }

  flag(): boolean {
    if (this.present && typeof this.value !== 'boolean') this.refuse('Must be true or false.');
    return this.value === true;
  }

  whole(least: number, most: number): number | undefined {
    if (!this.present) return undefined;
    const { value } = this;
    if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
    this.refuse(`Must be a whole number from ${least} to ${most}.`);
    return undefined;
  }

  items(): Cursor[] {
    if (Array.isArray(this.value)) return this.value.map((_, i) => this.at(i));
    if (this.present) this.refuse('Must be a list.');
    return [];
  }

  texts(): string[] {
    return this.items().flatMap((item) => item.text() ?? []);
  }

  entries(): [string, Cursor][] {
    if (isRecord(this.value)) return Object.keys(this.value).map((key) => [key, this.at(key)]);
    if (this.present) this.refuse('Must be a map.');
    return [];
  }

  /** One of `options`; what else stands here is a mistake, and then the default holds. */
  choice<const T extends string>(options: readonly T[], otherwise: T): T {
    const text = this.text();
    if (text === undefined) return otherwise;
    const found = options.find((option) => option === text);
    if (found === undefined)
      this.refuse(`"${text.slice(0, 60)}" is not a value of this key.`, `One of ${options.join(', ')}.`);
    return found ?? otherwise;
  }

  /** Judges every key of a map: ToolHive's own loader refuses unknown ones, and nothing here is ignored in silence. */
  strict({ used, later = [], idle = [], cluster = [] }: Keys): void {
    for (const [key, cursor] of this.entries()) {
      if (used.includes(key) || cluster.includes(key)) continue;
      if (later.includes(key)) {
        if (!isOff(key, cursor.value)) cursor.refuse(`"${key}" is not in this version of Tollgate.`, 'Remove the key.');
      } else if (idle.includes(key)) {
        if (!isOff(key, cursor.value)) cursor.warn(`"${key}" has no effect in Tollgate.`);
      } else {
        cursor.refuse(`Unknown key "${key.slice(0, 60)}".`, suggest(key, [...used, ...later, ...idle, ...cluster]));
      }
    }
  }
}

/** Features that are off unless `enabled: true`; the generated file leaves `enabled: false` out. */
const SWITCHED = new Set(['circuitBreaker', 'codeMode', 'audit']);

/** A key that says no more than its absence does, or a feature that is switched off. */
function isOff(key: string, value: unknown): boolean {
  if (value === null || value === undefined || value === '' || value === false || value === 0) return true;
  if (Array.isArray(value)) return value.length === 0;
  if (!isRecord(value)) return false;
  // An empty map switches others of ToolHive's features on.
  return SWITCHED.has(key) ? value['enabled'] !== true : value['type'] === 'none';
}
