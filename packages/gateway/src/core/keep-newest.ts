/**
 * Bounds what strangers can fill, called after each addition: when there are more than `most`, the one that was added
 * first goes.
 */
export function keepNewest<Key>(
  kept: { readonly size: number; keys(): Iterator<Key>; delete(key: Key): boolean },
  most: number,
): void {
  if (kept.size <= most) return;
  const oldest = kept.keys().next();
  if (oldest.done !== true) kept.delete(oldest.value);
}
