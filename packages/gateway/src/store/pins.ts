import { inOrder } from './paging.ts';
import type { PinsTable, Session } from './schema.ts';
import type { PinRecord, Pins } from './storage.ts';
import { natural, readText, storedProse, storedText } from './values.ts';

/** Rows of one statement: databases bound the number of parameters. */
const ROWS = 500;

/** Approved definitions of tools, prompts and templates. */
export function pinsOn({ db }: Session): Pins {
  return {
    async add(pins) {
      const kept: PinRecord[] = [];
      for (const part of parts(pins)) {
        await db
          .insertInto('tg_pins')
          .values(part.map(row))
          .onConflict((conflict) => conflict.column('id').doNothing())
          .execute();
        const ids = part.map(({ id }) => id);
        const rows = await db.selectFrom('tg_pins').select(COLUMNS).where('id', 'in', ids).execute();
        kept.push(...rows.map(record));
      }
      return kept;
    },

    async approve(pins) {
      for (const part of parts(pins)) {
        await db
          .insertInto('tg_pins')
          .values(part.map(row))
          .onConflict((conflict) =>
            conflict
              .column('id')
              .doUpdateSet((set) => ({
                digest: set.ref('excluded.digest'),
                source: set.ref('excluded.source'),
                definition: set.ref('excluded.definition'),
                approved_by: set.ref('excluded.approved_by'),
                at: set.ref('excluded.at'),
              }))
              .whereRef('tg_pins.at', '<=', 'excluded.at'),
          )
          .execute();
      }
    },

    async definition(id) {
      const found = await db.selectFrom('tg_pins').select('definition').where('id', '=', id).executeTakeFirst();
      return found === undefined ? undefined : readText(found.definition);
    },

    all: (part = {}) => inOrder(db.selectFrom('tg_pins').select(COLUMNS), 'id', part, record),
  };
}

const COLUMNS = ['id', 'server', 'kind', 'name', 'digest', 'source', 'approved_by', 'at'] as const;

/** One id once in a statement: the last one given counts. */
function parts<T extends { readonly id: string }>(pins: readonly T[]): T[][] {
  const each = [...new Map(pins.map((pin) => [pin.id, pin])).values()];
  return Array.from({ length: Math.ceil(each.length / ROWS) }, (_, i) => each.slice(i * ROWS, (i + 1) * ROWS));
}

function row(pin: PinRecord & { readonly definition: string }): PinsTable {
  return {
    id: storedText(pin.id),
    server: storedText(pin.server),
    kind: pin.kind,
    name: storedProse(pin.name),
    digest: storedText(pin.digest),
    source: storedText(pin.source),
    definition: storedProse(pin.definition),
    approved_by: storedText(pin.by),
    at: natural(pin.at, 'at'),
  };
}

function record(found: Omit<PinsTable, 'definition'>): PinRecord {
  return {
    id: found.id,
    server: readText(found.server),
    kind: found.kind,
    name: readText(found.name),
    digest: found.digest,
    source: found.source,
    by: readText(found.approved_by),
    at: found.at,
  };
}
