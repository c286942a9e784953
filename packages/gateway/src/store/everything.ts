import type { Page, Part } from './storage.ts';

/** All parts of a list, one after the other. Stops early once there are more than `most`. */
export async function everything<T>(
  read: (part: Part) => Promise<Page<T>>,
  keep: (item: T) => boolean = () => true,
  most: number = Infinity,
): Promise<T[]> {
  const all: T[] = [];
  for (let after: string | undefined; ; ) {
    const { items, next } = await read({ limit: 10_000, ...(after === undefined ? {} : { after }) });
    for (const item of items) if (keep(item)) all.push(item);
    if (next === undefined || all.length > most) return all;
    after = next;
  }
}
