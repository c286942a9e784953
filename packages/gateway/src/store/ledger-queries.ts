import { sql } from 'kysely';
import { TollgateError } from '../core/errors.ts';
import { page, pageSize, readCursor, writeCursor } from './paging.ts';
import type { EntriesTable, Session, Tables } from './schema.ts';
import { exactSum, rowset } from './sql-text.ts';
import type {
  LedgerCounter,
  LedgerEntry,
  Page,
  Part,
  Spent,
  SpentQuery,
  UsageGroup,
  UsageQuery,
  UsageRow,
} from './storage.ts';
import { counterKey, integer, natural, readText, storedText } from './values.ts';

const GROUPS: readonly UsageGroup[] = ['principal', 'tenant', 'server', 'tool', 'endpoint', 'day'];
const DAY = 86_400_000;

export async function entry(session: Session, id: string): Promise<LedgerEntry | undefined> {
  const row = await session.db.selectFrom('tg_entries').selectAll().where('id', '=', storedText(id)).executeTakeFirst();
  return row === undefined ? undefined : (await withParts(session, [row]))[0];
}

export async function openHolds(session: Session, part: Part): Promise<Page<LedgerEntry>> {
  const size = pageSize(part.limit);
  let query = session.db.selectFrom('tg_entries').selectAll().where('state', '=', sql.lit('open'));
  if (part.after !== undefined) {
    const [after] = readCursor<[string]>(part.after, ['string']);
    query = query.where('id', '>', after);
  }
  const rows = await query
    .orderBy('id')
    .limit(size + 1)
    .execute();
  const { items, next } = page(
    rows,
    size,
    (row) => row,
    (row) => writeCursor(row.id),
  );
  return { items: await withParts(session, items), next };
}

async function withParts({ kind, db }: Session, rows: readonly EntriesTable[]): Promise<LedgerEntry[]> {
  if (rows.length === 0) return [];
  const ids = rowset(
    kind,
    { id: 'text' },
    rows.map((row) => [row.id]),
  );
  const amounts = await sql<Tables['tg_amounts']>`
    select a.* from tg_amounts as a join ${ids} on a.entry_id = v.id order by a.entry_id, a.unit`.execute(db);
  const postings = await sql<Tables['tg_postings']>`
    select p.* from tg_postings as p join ${ids} on p.entry_id = v.id
    order by p.entry_id, p.rule, p.key, p.window_start, p.unit`.execute(db);
  const amountsOf = Map.groupBy(amounts.rows, (amount) => amount.entry_id);
  const postingsOf = Map.groupBy(postings.rows, (posting) => posting.entry_id);
  return rows.map((row) => ({
    id: readText(row.id),
    at: row.at,
    principal: readText(row.principal),
    tenant: optional(row.tenant),
    server: readText(row.server),
    tool: readText(row.tool),
    endpoint: readText(row.endpoint),
    session: optional(row.session),
    decisionId: optional(row.decision_id),
    expiresAt: row.expires_at,
    closedAt: row.closed_at ?? undefined,
    state: row.state,
    amounts: (amountsOf.get(row.id) ?? []).map(({ unit, estimate, amount, source }) => ({
      unit: readText(unit),
      estimate,
      amount,
      source,
    })),
    postings: (postingsOf.get(row.id) ?? []).map((posting) => ({ ...counterOf(posting), amount: posting.amount })),
  }));
}

const optional = (text: string | null) => (text === null ? undefined : readText(text));

function counterOf(row: { rule: string; key: string; window_start: number; unit: string }) {
  return { rule: readText(row.rule), key: row.key, windowStart: row.window_start, unit: readText(row.unit) };
}

export async function spent({ kind, db }: Session, query: SpentQuery): Promise<Spent> {
  const conditions = [sql`m.rule = ${storedText(query.rule)}`];
  if (query.key !== undefined) conditions.push(sql`m.key = ${counterKey(query.key)}`);
  if (query.windowStart !== undefined) {
    conditions.push(sql`m.window_start = ${integer(query.windowStart, 'windowStart')}`);
  }
  if (query.unit !== undefined) conditions.push(sql`m.unit = ${storedText(query.unit)}`);
  const { rows } = await sql<{ settled: number; open: number }>`
    select ${exactSum(kind, sql`case when m.open = 0 then m.amount else 0 end`)} as settled,
      ${exactSum(kind, sql`case when m.open = 1 then m.amount else 0 end`)} as open
    from tg_postings as m where ${sql.join(conditions, sql` and `)}`.execute(db);
  return withTotal(rows[0]!);
}

function withTotal({ settled, open }: { settled: number; open: number }): Spent {
  return { settled, open, total: Math.min(settled + open, Number.MAX_SAFE_INTEGER) };
}

export async function counters(
  { kind, db }: Session,
  query: Part & { readonly rule?: string; readonly from?: number },
): Promise<Page<LedgerCounter>> {
  const size = pageSize(query.limit);
  const conditions = [sql`true`];
  if (query.rule !== undefined) conditions.push(sql`m.rule = ${storedText(query.rule)}`);
  if (query.from !== undefined) conditions.push(sql`m.window_start >= ${integer(query.from, 'from')}`);
  if (query.after !== undefined) {
    const [rule, key, start, unit] = readCursor<[string, string, number, string]>(query.after, [
      'string',
      'string',
      'number',
      'string',
    ]);
    const after = sql`(${rule}, ${key}, cast(${start} as bigint), ${unit})`;
    conditions.push(sql`(m.rule, m.key, m.window_start, m.unit) > ${after}`);
  }
  const { rows } = await sql<{
    rule: string;
    key: string;
    window_start: number;
    unit: string;
    settled: number;
    open: number;
  }>`
    select m.rule, m.key, m.window_start, m.unit,
      ${exactSum(kind, sql`case when m.open = 0 then m.amount else 0 end`)} as settled,
      ${exactSum(kind, sql`case when m.open = 1 then m.amount else 0 end`)} as open
    from tg_postings as m where ${sql.join(conditions, sql` and `)}
    group by m.rule, m.key, m.window_start, m.unit
    order by m.rule, m.key, m.window_start, m.unit limit ${sql.lit(size + 1)}`.execute(db);
  return page(
    rows,
    size,
    (row) => ({ ...counterOf(row), ...withTotal(row) }),
    (row) => writeCursor(row.rule, row.key, row.window_start, row.unit),
  );
}

export async function usage({ kind, db }: Session, query: UsageQuery): Promise<UsageRow[]> {
  const groups = query.groupBy ?? [];
  for (const group of groups) {
    if (!GROUPS.includes(group)) {
      throw new TollgateError('invalid_params', `groupBy can be of ${GROUPS.join(', ')}, not ${JSON.stringify(group)}`);
    }
  }
  const columns = groups.map((group) =>
    group === 'day' ? sql`(e.at - e.at % ${sql.lit(DAY)})` : sql.ref(`e.${group}`),
  );
  const conditions = [
    sql`e.at >= ${natural(query.from, 'from')}`,
    sql`e.at < ${natural(query.to, 'to')}`,
    // What an operator gave back was spent all the same.
    sql`a.amount >= 0`,
  ];
  for (const name of ['principal', 'tenant', 'server', 'tool'] as const) {
    const wanted = query[name];
    if (wanted !== undefined) conditions.push(sql`${sql.ref(`e.${name}`)} = ${storedText(wanted)}`);
  }
  const keys = [...columns, sql`a.unit`];
  const open = sql.lit('open');
  const { rows } = await sql<Record<string, string | number | null>>`
    select ${sql.join([...columns.map((column, i) => sql`${column} as ${sql.ref(`g${i}`)}`), sql`a.unit as unit`])},
      count(*) as calls,
      ${exactSum(kind, sql`case when e.state <> ${open} then a.amount else 0 end`)} as settled,
      ${exactSum(kind, sql`case when e.state = ${open} then a.amount else 0 end`)} as open
    from tg_entries as e join tg_amounts as a on a.entry_id = e.id
    where ${sql.join(conditions, sql` and `)}
    group by ${sql.join(keys)} order by ${sql.join(keys)}`.execute(db);
  return rows.map((row) => ({
    group: Object.fromEntries(
      groups.map((group, i) => {
        const value = row[`g${i}`];
        return [group, typeof value === 'string' ? readText(value) : (value ?? undefined)];
      }),
    ),
    unit: readText(row['unit'] as string),
    calls: row['calls'] as number,
    settled: row['settled'] as number,
    open: row['open'] as number,
  }));
}
