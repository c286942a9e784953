import type * as z from 'zod';
import type { Amount, Rung } from '../admission/options.ts';
import { formatAmount } from './amounts.ts';
import type { KeyPath } from './problems.ts';
import { formatQuota, formatRate, type WrittenQuota } from './quotas.ts';
import { isSecret, type Unit, units } from './schema/kit.ts';
import { configSchema } from './schema.ts';
import { formatDuration, formatListen, formatSize, type ListenAddress } from './units.ts';
import { isRecord } from './values.ts';

/** One value of a configuration, with what its schema knows of it. */
export interface Leaf {
  readonly path: KeyPath;
  readonly value: unknown;
  /** Marked in the schema: never shown. */
  readonly secret: boolean;
  readonly unit: Unit | undefined;
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
}

/** Every value of a configuration in the order of the schema. A list of plain values is one leaf, and so is an empty map. */
export function leavesOf(config: unknown): Leaf[] {
  const leaves: Leaf[] = [];
  walk(configSchema, config, [], leaves);
  return leaves;
}

function walk(schema: Schema | undefined, value: unknown, path: KeyPath, out: Leaf[]): void {
  if (value === undefined) return;
  const known = schema === undefined ? undefined : resolve(schema, value);
  const isUnit = known?.unit !== undefined;
  if (!isUnit && Array.isArray(value) && value.some(isRecord)) {
    value.forEach((item, i) => {
      walk(known?.def.element, item, [...path, i], out);
    });
    return;
  }
  if (!isUnit && isRecord(value) && Object.keys(value).length > 0) {
    const shape = known?.def.shape;
    // Keys of a section come in the order of the schema, those of a map as written.
    const keys = shape === undefined ? Object.keys(value) : Object.keys(shape).filter((key) => key in value);
    for (const key of keys) walk(shape?.[key] ?? known?.def.valueType, value[key], [...path, key], out);
    return;
  }
  out.push({ path, value, secret: known?.secret === true, unit: known?.unit });
}

interface Resolved {
  readonly def: Def;
  readonly secret: boolean;
  readonly unit: Unit | undefined;
}

/** The schema below wrappers, and the alternative of a union that fits the kind of value. */
function resolve(schema: Schema, value: unknown): Resolved {
  let current = schema;
  let secret = false;
  let unit: Unit | undefined;
  for (;;) {
    const def = current._zod.def as unknown as Def;
    secret ||= isSecret(current);
    unit ??= units.get(current)?.unit;
    if (def.type === 'union') {
      const fitting = def.options!.map((option) => resolve(option, value)).find((option) => fits(option, value));
      return fitting === undefined ? { def, secret, unit } : { ...fitting, secret: secret || fitting.secret };
    }
    const inner = def.innerType ?? (def.type === 'pipe' ? def.in : undefined);
    if (inner === undefined) return { def, secret, unit };
    current = inner;
  }
}

function fits(option: Resolved, value: unknown): boolean {
  if (option.unit !== undefined) return isOfUnit(option.unit, value);
  if (Array.isArray(value)) return option.def.type === 'array';
  return isRecord(value) === (option.def.type === 'object' || option.def.type === 'record');
}

/** Whether a value can be what a unit was read into: quotas, rungs and amounts are maps like sections. */
function isOfUnit(unit: Unit, value: unknown): boolean {
  if (unit === 'url') return typeof value === 'string';
  if (unit === 'duration' || unit === 'size') return typeof value === 'number';
  if (!isRecord(value)) return false;
  if (unit === 'quota' || unit === 'rung') return 'kind' in value;
  return unit === 'amount' ? 'micros' in value : true;
}

/** A value as it would be written. Not for secrets. */
export function formatLeaf(leaf: Pick<Leaf, 'value' | 'unit'>): string {
  const { value, unit } = leaf;
  switch (unit) {
    case 'duration':
      return formatDuration(value as number);
    case 'size':
      return formatSize(value as number);
    case 'rate':
      return formatRate(value as Parameters<typeof formatRate>[0]);
    case 'quota':
      return formatQuota(value as WrittenQuota);
    case 'amount':
      return formatAmount(value as Amount);
    case 'rung': {
      const rung = value as Rung;
      return rung.kind === 'wait' ? `wait ${formatDuration(rung.ms)}` : 'refuse';
    }
    case 'listen':
      return formatListen(value as ListenAddress);
    default:
  }
  if (Array.isArray(value)) return `[${value.map((item) => formatLeaf({ value: item, unit: undefined })).join(', ')}]`;
  if (typeof value === 'string') return /^[\w@./:~*${}[\]-]+$/.test(value) ? value : JSON.stringify(value);
  return JSON.stringify(value);
}
