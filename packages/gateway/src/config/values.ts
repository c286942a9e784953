import type { KeyPath } from './problems.ts';

/** Freezes a tree of plain objects, lists and maps for good: nobody changes a configuration in use. */
export function deepFreeze<T>(value: T): T {
  // The elements of a buffer cannot be frozen.
  if (typeof value !== 'object' || value === null || Object.isFrozen(value) || ArrayBuffer.isView(value)) return value;
  for (const item of value instanceof Map ? value.values() : Object.values(value)) deepFreeze(item);
  // A URL keeps its state in private fields; freezing it would only hide that.
  return value instanceof URL ? value : Object.freeze(value);
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What stands at a path of a tree of plain values; undefined when nothing does. */
export function valueAt(root: unknown, path: KeyPath): unknown {
  let value = root;
  for (const key of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<string | number, unknown>)[key];
  }
  return value;
}

/** One item or a list of them, as a list. */
export function asList<T>(value: T | readonly T[] | undefined): readonly T[] | undefined {
  return value === undefined || Array.isArray(value) ? (value as readonly T[] | undefined) : [value as T];
}
