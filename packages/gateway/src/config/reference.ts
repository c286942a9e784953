import * as z from 'zod';
import { formats, isSecret } from './schema/kit.ts';
import { configSchema } from './schema.ts';

/** One table of the reference page: the keys of one map. */
export interface ReferenceSection {
  /** `servers.<name>.timeout`; empty for the top level. */
  readonly path: string;
  readonly about: string;
  readonly keys: readonly ReferenceKey[];
}

interface ReferenceKey {
  readonly name: string;
  readonly type: string;
  /** As it would be written; empty when there is none. */
  readonly fallback: string;
  readonly required: boolean;
  readonly about: string;
}

type Schema = z.core.$ZodType;

interface Def {
  readonly type: string;
  readonly innerType?: Schema;
  readonly in?: Schema;
  readonly options?: readonly Schema[];
  readonly element?: Schema;
  readonly valueType?: Schema;
  readonly shape?: Readonly<Record<string, Schema>>;
  readonly defaultValue?: unknown;
  readonly entries?: Readonly<Record<string, string>>;
  readonly values?: readonly unknown[];
}

/** Every key that may be written, section by section. */
export function referenceSections(): ReferenceSection[] {
  const sections: ReferenceSection[] = [];
  collect(configSchema, '', sections);
  return sections;
}

function collect(schema: Schema, path: string, out: ReferenceSection[]): void {
  const { def, about } = unwrap(schema);
  switch (def.type) {
    case 'object': {
      const shape = Object.entries(def.shape!);
      out.push({ path, about, keys: shape.map(([name, child]) => describeKey(name, child)) });
      for (const [name, child] of shape) collect(child, path === '' ? name : `${path}.${name}`, out);
      return;
    }
    case 'record':
      collect(def.valueType!, `${path}.<${placeholder(path)}>`, out);
      return;
    case 'array':
      collect(def.element!, `${path}[]`, out);
      return;
    case 'union':
      // `X or a list of X` is one table, not two.
      for (const option of def.options!) {
        const { def: inner } = unwrap(option);
        if (inner.type !== 'array' || !def.options!.includes(inner.element!)) collect(option, path, out);
      }
      return;
    default:
  }
}

const PLACEHOLDERS: Readonly<Record<string, string>> = {
  endpoints: 'path',
  tools: 'pattern',
  tiers: 'tier',
  'tiers.<tier>': 'limit',
};

function placeholder(path: string): string {
  return PLACEHOLDERS[path] ?? 'name';
}

function describeKey(name: string, schema: Schema): ReferenceKey {
  const { about, fallback, optional } = unwrap(schema);
  return {
    name,
    type: typeText(schema),
    fallback:
      fallback === undefined || JSON.stringify(fallback) === '{}'
        ? ''
        : typeof fallback === 'string'
          ? fallback
          : JSON.stringify(fallback),
    required: !optional && fallback === undefined,
    about,
  };
}

interface Unwrapped {
  readonly def: Def;
  readonly schema: Schema;
  readonly about: string;
  readonly fallback: unknown;
  readonly optional: boolean;
  readonly secret: boolean;
}

function unwrap(schema: Schema): Unwrapped {
  let current = schema;
  let about = '';
  let fallback: unknown;
  let optional = false;
  let secret = false;
  for (;;) {
    const def = current._zod.def as unknown as Def;
    secret ||= isSecret(current);
    about ||= z.globalRegistry.get(current)?.description ?? '';
    if (def.type === 'prefault') fallback ??= def.defaultValue;
    if (def.type === 'optional') optional = true;
    const inner = def.innerType ?? (def.type === 'pipe' ? def.in : undefined);
    if (inner === undefined) return { def, schema: current, about, fallback, optional, secret };
    current = inner;
  }
}

/** The kind of a value in a few words. */
function typeText(schema: Schema): string {
  const { def, schema: inner, secret } = unwrap(schema);
  const format = formats.get(inner);
  if (format !== undefined) return withoutArticle(format.what) + (secret ? ' (secret)' : '');
  switch (def.type) {
    case 'object':
      return 'map';
    case 'record':
      return unwrap(def.valueType!).secret ? 'map of texts (secret)' : 'map';
    case 'array':
      return `list of ${typeText(def.element!)}`;
    case 'union':
      return [...new Set(def.options!.map(typeText))].join(' or ');
    case 'enum':
      return Object.values(def.entries!).map(code).join(', ');
    case 'literal':
      return def
        .values!.map((value) => code(typeof value === 'string' ? JSON.stringify(value) : String(value)))
        .join(', ');
    case 'boolean':
      return '`true`, `false`';
    case 'number': {
      const { minValue, maxValue } = inner as unknown as { minValue: number; maxValue: number };
      return `whole number, ${minValue} to ${maxValue}`;
    }
    default:
      return 'text';
  }
}

function withoutArticle(what: string): string {
  return what.replace(/^(?:an?|the) /, '');
}

function code(text: string): string {
  return `\`${text}\``;
}
