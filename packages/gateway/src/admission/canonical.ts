/**
 * JSON text that is the same for the same value, however it was written: members in the order of their names, no
 * spaces, numbers as they came. For digests: the same arguments in another order are the same arguments.
 */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(sorted(value)) ?? 'null';
}

function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || isRaw(value)) return value;
  if (Array.isArray(value)) return value.map(sorted);
  const names = Object.keys(value).toSorted();
  // Without a prototype, so that a member named `__proto__` is one like any other.
  const result = Object.create(null) as Record<string, unknown>;
  for (const name of names) result[name] = sorted((value as Record<string, unknown>)[name]);
  return result;
}

function isRaw(value: object): boolean {
  return (JSON as unknown as { isRawJSON(value: unknown): boolean }).isRawJSON(value);
}
