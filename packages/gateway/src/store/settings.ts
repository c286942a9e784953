import { TollgateError } from '../core/errors.ts';
import { randomId } from '../core/ids.ts';
import type { Session } from './schema.ts';
import type { Settings } from './storage.ts';
import { readText, storedProse, storedText } from './values.ts';

/** Names and values that belong to the database as a whole. */
export function settingsOn({ db }: Session): Settings {
  const settings: Settings = {
    async get(name) {
      const row = await db.selectFrom('tg_meta').select('value').where('name', '=', nameOf(name)).executeTakeFirst();
      return row === undefined ? undefined : readText(row.value);
    },

    async set(name, value) {
      const stored = storedProse(value);
      await db
        .insertInto('tg_meta')
        .values({ name: nameOf(name), value: stored })
        .onConflict((conflict) => conflict.column('name').doUpdateSet({ value: stored }))
        .execute();
    },

    async once(name, value) {
      await db
        .insertInto('tg_meta')
        .values({ name: nameOf(name), value: storedProse(value) })
        .onConflict((conflict) => conflict.column('name').doNothing())
        .execute();
      return (await settings.get(name)) ?? value;
    },

    async remove(name) {
      await db.deleteFrom('tg_meta').where('name', '=', nameOf(name)).execute();
    },

    ledgerId: () => settings.once('ledger_id', randomId(26)),
  };
  return settings;
}

/** The migrations keep their version in the same table. */
function nameOf(name: string): string {
  if (name !== 'schema_version') return storedText(name);
  throw new TollgateError('invalid_params', 'The setting schema_version belongs to the migrations');
}
