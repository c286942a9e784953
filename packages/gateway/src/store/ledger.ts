import { sql } from 'kysely';
import { TollgateError } from '../core/errors.ts';
import { counters, entry, openHolds, spent, usage } from './ledger-queries.ts';
import type { Session } from './schema.ts';
import { rowset } from './sql-text.ts';
import type {
  AmountSource,
  EntryExpiry,
  EntryRelease,
  EntryRenewal,
  EntryResult,
  EntrySettlement,
  HoldState,
  Ledger,
  NewEntry,
} from './storage.ts';
import { counterKey, integer, natural, storedText } from './values.ts';

const SOURCES: readonly AmountSource[] = ['fixed', 'reported', 'estimated', 'expired'];

/** The ledger in SQL. Every method is a few statements, whatever the length of its list; the caller opens the transaction. */
export function ledgerOn(session: Session): Ledger {
  return {
    open: (entries) => open(session, entries),
    settle: (settlements) => settle(session, settlements),
    release: (releases) => release(session, releases),
    expire: (expiries) => expire(session, expiries),
    renew: (renewals) => renew(session, renewals),
    entry: (id) => entry(session, id),
    spent: (query) => spent(session, query),
    openHolds: (part) => openHolds(session, part ?? {}),
    usage: (query) => usage(session, query),
    counters: (query) => counters(session, query ?? {}),
  };
}

const optional = (text: string | undefined) => (text === undefined ? null : storedText(text));

async function open(session: Session, entries: readonly NewEntry[]): Promise<EntryResult[]> {
  const { kind, db } = session;
  const batch = firstById(entries);
  const rows = [...batch].map(([id, e]) => [
    id,
    natural(e.at, 'at'),
    storedText(e.principal),
    optional(e.tenant),
    storedText(e.server),
    storedText(e.tool),
    storedText(e.endpoint),
    optional(e.session),
    optional(e.decisionId),
    natural(e.expiresAt, 'expiresAt'),
  ]);
  const amounts = new Map([...batch].map(([id, e]) => [id, amountsOf(e.estimate)]));
  const postings = new Map([...batch].map(([id, e]) => [id, postingsOf(id, e)]));
  const columns = {
    id: 'text',
    at: 'bigint',
    principal: 'text',
    tenant: 'text',
    server: 'text',
    tool: 'text',
    endpoint: 'text',
    session: 'text',
    decision_id: 'text',
    expires_at: 'bigint',
  } as const;
  const inserted = await sql<{ id: string }>`
    insert into tg_entries (id, at, principal, tenant, server, tool, endpoint, session, decision_id, expires_at, state)
    select v.id, v.at, v.principal, v.tenant, v.server, v.tool, v.endpoint, v.session, v.decision_id, v.expires_at, 'open'
    from ${rowset(kind, columns, rows)} where true on conflict (id) do nothing returning id`.execute(db);
  const ids = inserted.rows.map((row) => row.id);
  const newAmounts = ids.flatMap((id) => amounts.get(id)!.map(([unit, amount]) => [id, unit, amount]));
  if (newAmounts.length > 0) {
    await sql`
      insert into tg_amounts (entry_id, unit, estimate, amount, source)
      select v.id, v.unit, v.amount, v.amount, 'estimated'
      from ${rowset(kind, { id: 'text', unit: 'text', amount: 'bigint' }, newAmounts)} where true`.execute(db);
  }
  const newPostings = ids.flatMap((id) => postings.get(id)!);
  if (newPostings.length > 0) {
    const posting = {
      id: 'text',
      rule: 'text',
      key: 'text',
      window_start: 'bigint',
      unit: 'text',
      amount: 'bigint',
    } as const;
    await sql`
      insert into tg_postings (entry_id, rule, key, window_start, unit, amount, open)
      select v.id, v.rule, v.key, v.window_start, v.unit, v.amount, 1
      from ${rowset(kind, posting, newPostings)} where true
      on conflict (entry_id, rule, key, window_start, unit) do nothing`.execute(db);
  }
  return results(session, entries, new Set(ids), 'open');
}

/** Distinct ids in their stored form; of a repeated id the first counts. */
function firstById<T extends { readonly id: string }>(list: readonly T[]): Map<string, T> {
  const first = new Map<string, T>();
  for (const item of list) {
    const id = storedText(item.id);
    if (!first.has(id)) first.set(id, item);
  }
  return first;
}

function amountsOf(amounts: Readonly<Record<string, number>>, negative = false): [string, number][] {
  const checked = negative ? integer : natural;
  return Object.entries(amounts).map(([unit, amount]) => [storedText(unit), checked(amount, `The amount in ${unit}`)]);
}

function postingsOf(id: string, entry: NewEntry): (string | number)[][] {
  return entry.postings.map((posting) => [
    id,
    storedText(posting.rule),
    counterKey(posting.key),
    integer(posting.windowStart, 'windowStart'),
    storedText(posting.unit),
    entry.estimate[posting.unit] ?? 0,
  ]);
}

async function settle(session: Session, settlements: readonly EntrySettlement[]): Promise<EntryResult[]> {
  const { kind, db } = session;
  const batch = firstById(settlements);
  for (const { source } of batch.values()) {
    if (!SOURCES.includes(source))
      throw new TollgateError('invalid_params', `source must be one of ${SOURCES.join(', ')}`);
  }
  const amounts = new Map([...batch].map(([id, s]) => [id, amountsOf(s.amounts ?? {}, s.source === 'fixed')]));
  const changed = await close(session, batch, 'settled', sql`('open', 'expired')`);
  if (changed.size > 0) {
    const closed = [...changed].map((id) => [id, batch.get(id)!.source]);
    await sql`
      update tg_amounts set amount = estimate, source = v.source
      from ${rowset(kind, { id: 'text', source: 'text' }, closed)} where tg_amounts.entry_id = v.id`.execute(db);
    const named = [...changed].flatMap((id) =>
      amounts.get(id)!.map(([unit, amount]) => [id, unit, amount, batch.get(id)!.source]),
    );
    if (named.length > 0) {
      const columns = { id: 'text', unit: 'text', amount: 'bigint', source: 'text' } as const;
      await sql`
        insert into tg_amounts (entry_id, unit, estimate, amount, source)
        select v.id, v.unit, 0, v.amount, v.source from ${rowset(kind, columns, named)} where true
        on conflict (entry_id, unit) do update set amount = excluded.amount, source = excluded.source`.execute(db);
    }
    await postAmounts(session, changed);
  }
  return results(session, settlements, changed, 'settled');
}

/** Postings follow the amounts of their entries: they are derived, never counted up or down. */
async function postAmounts({ kind, db }: Session, ids: ReadonlySet<string>): Promise<void> {
  const rows = [...ids].map((id) => [id]);
  await sql`
    update tg_postings set amount = a.amount, open = 0
    from tg_amounts as a, ${rowset(kind, { id: 'text' }, rows)}
    where a.entry_id = v.id and tg_postings.entry_id = v.id and tg_postings.unit = a.unit`.execute(db);
}

async function release(session: Session, releases: readonly EntryRelease[]): Promise<EntryResult[]> {
  const { kind, db } = session;
  const changed = await close(session, firstById(releases), 'released', sql`('open')`);
  if (changed.size > 0) {
    const rows = [...changed].map((id) => [id]);
    await sql`
      update tg_amounts set amount = 0 from ${rowset(kind, { id: 'text' }, rows)}
      where tg_amounts.entry_id = v.id`.execute(db);
    await postAmounts(session, changed);
  }
  return results(session, releases, changed, 'released');
}

async function expire(session: Session, expiries: readonly EntryExpiry[]): Promise<EntryResult[]> {
  const { kind, db } = session;
  const batch = firstById(expiries);
  const changed = await close(session, batch, 'expired', sql`('open')`);
  if (changed.size > 0) {
    const rows = [...changed].map((id) => [id, batch.get(id)!.assume === 'free' ? 0 : 1]);
    await sql`
      update tg_amounts set amount = amount * v.kept, source = 'expired'
      from ${rowset(kind, { id: 'text', kept: 'bigint' }, rows)} where tg_amounts.entry_id = v.id`.execute(db);
    await postAmounts(session, changed);
  }
  return results(session, expiries, changed, 'expired');
}

async function renew(session: Session, renewals: readonly EntryRenewal[]): Promise<EntryResult[]> {
  const { kind, db } = session;
  // Of a repeated id the last counts here, as it would one after the other.
  const last = new Map(renewals.map((renewal) => [storedText(renewal.id), renewal]));
  const rows = [...last].map(([id, renewal]) => [id, natural(renewal.expiresAt, 'expiresAt')]);
  const changed = await sql<{ id: string }>`
    update tg_entries set expires_at = v.expires_at
    from ${rowset(kind, { id: 'text', expires_at: 'bigint' }, rows)}
    where tg_entries.id = v.id and tg_entries.state = 'open' returning tg_entries.id as id`.execute(db);
  return results(session, renewals, new Set(changed.rows.map((row) => row.id)), 'open');
}

/** Moves entries that are in one of the states `from` to `to`; returns the ids that moved. */
async function close(
  { kind, db }: Session,
  batch: ReadonlyMap<string, { readonly at: number }>,
  to: HoldState,
  from: ReturnType<typeof sql>,
): Promise<Set<string>> {
  const rows = [...batch].map(([id, { at }]) => [id, natural(at, 'at')]);
  const moved = await sql<{ id: string }>`
    update tg_entries set state = ${sql.lit(to)}, closed_at = v.at
    from ${rowset(kind, { id: 'text', at: 'bigint' }, rows)}
    where tg_entries.id = v.id and tg_entries.state in ${from} returning tg_entries.id as id`.execute(db);
  return new Set(moved.rows.map((row) => row.id));
}

/** In the order of `list`: changed ones are in `state`, each once; the others are looked up. */
async function results(
  { kind, db }: Session,
  list: readonly { readonly id: string }[],
  changed: Set<string>,
  state: HoldState,
): Promise<EntryResult[]> {
  const stored = list.map((item) => storedText(item.id));
  const others = [...new Set(stored)].filter((id) => !changed.has(id)).map((id) => [id]);
  const found =
    others.length === 0
      ? []
      : (
          await sql<{ id: string; state: HoldState }>`
            select e.id, e.state from tg_entries as e join ${rowset(kind, { id: 'text' }, others)} on e.id = v.id`.execute(
            db,
          )
        ).rows;
  const states = new Map(found.map((row) => [row.id, row.state]));
  const reported = new Set<string>();
  return list.map(({ id }, i) => {
    const key = stored[i]!;
    const first = changed.has(key) && !reported.has(key);
    reported.add(key);
    return { id, state: changed.has(key) ? state : (states.get(key) ?? 'unknown'), changed: first };
  });
}
