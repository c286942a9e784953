import type { Cursor } from './cursor.ts';

const PREFIX = 'tollgate/';
/** What a file of ToolHive can say to Tollgate, where both products accept any text: metadata and annotations. */
const SETTINGS = ['refusals', 'bearers', 'key-layout'];

/** Settings of `metadata` and annotations whose key begins with `tollgate/`; later places win. */
export function readSettings(...places: readonly Cursor[]): ReadonlyMap<string, Cursor> {
  const settings = new Map<string, Cursor>();
  for (const place of places) {
    for (const [key, cursor] of place.entries()) {
      if (!key.startsWith(PREFIX)) continue;
      const name = key.slice(PREFIX.length);
      if (SETTINGS.includes(name)) settings.set(name, cursor);
      else
        cursor.refuse(
          `Tollgate has no setting "${key.slice(0, 60)}".`,
          `Known: ${SETTINGS.map((one) => PREFIX + one).join(', ')}.`,
        );
    }
  }
  return settings;
}

/** `alice=ALICE_TOKEN bob=BOB_TOKEN`: who stands in for callers of an identity provider, and whose variable. */
export function readBearers(cursor: Cursor): { readonly subject: string; readonly variable: string }[] {
  const text = cursor.text() ?? '';
  return text
    .split(/[\s,]+/)
    .filter((part) => part !== '')
    .flatMap((part) => {
      const match = /^([A-Za-z0-9_-]{1,64})=([A-Za-z_][A-Za-z0-9_]*)$/.exec(part);
      if (match !== null) return [{ subject: match[1]!, variable: match[2]! }];
      cursor.refuse('This is no list of callers.', 'Write alice=ALICE_TOKEN bob=BOB_TOKEN.');
      return [];
    });
}
