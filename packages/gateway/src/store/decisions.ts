import { type RawBuilder, sql } from 'kysely';
import { ACCESS_REASONS } from '../core/access-refusal.ts';
import { TollgateError } from '../core/errors.ts';
import type { Retention } from './options.ts';
import { latestFirst } from './paging.ts';
import type { DecisionsTable, Session } from './schema.ts';
import { rowset } from './sql-text.ts';
import type { DecisionQuery, DecisionRecord, Decisions, Page, Verdict } from './storage.ts';
import { natural, readText, storedProse, storedText } from './values.ts';

const DAY = 86_400_000;
/** In the words of the index. */
const BY_ACCESS = sql<boolean>`reason in (${sql.join(ACCESS_REASONS.map((accessReason) => sql.lit(accessReason)))})`;
const REFUSED = sql`verdict = ${sql.lit('refused')}`;
const COLUMNS = {
  id: 'text',
  at: 'bigint',
  verdict: 'text',
  principal: 'text',
  tool: 'text',
  method: 'text',
  reason: 'text',
  json: 'text',
} as const;

/** Remembers how many records came since the old ones were last removed: that is worth doing once in many writes. */
export class DecisionRetention {
  readonly keep: Required<Retention>;
  readonly #since = {
    admitted: Number.POSITIVE_INFINITY,
    refused: Number.POSITIVE_INFINITY,
    access: Number.POSITIVE_INFINITY,
  };

  constructor(keep: Retention = {}) {
    this.keep = { admissions: 10_000, refusals: 1_000_000, refusalAge: 30 * DAY, accessRefusals: 100_000, ...keep };
  }

  /** Whether `added` records make it time; between two times a twentieth more may lie in the table. */
  due(of: Verdict | 'access', added: number): boolean {
    this.#since[of] += added;
    const { admissions, refusals, accessRefusals } = this.keep;
    const most = of === 'admitted' ? admissions : of === 'refused' ? refusals : accessRefusals;
    if (added === 0 || this.#since[of] <= most / 20) return false;
    this.#since[of] = 0;
    return true;
  }
}

/** Decision records: the last admissions, and refusals for longer. */
export function decisionsOn(session: Session, retention: DecisionRetention): Decisions {
  const { kind, db } = session;
  return {
    async put(records) {
      const rows = records.map((record) => [
        storedText(record.id),
        natural(record.at, 'at'),
        verdict(record.verdict),
        storedText(record.principal),
        storedText(record.tool),
        storedText(record.method),
        storedText(record.reason),
        storedProse(record.json),
      ]);
      const added = await sql<{ id: string }>`
        insert into tg_decisions (id, at, verdict, principal, tool, method, reason, json)
        select v.id, v.at, v.verdict, v.principal, v.tool, v.method, v.reason, v.json
        from ${rowset(kind, COLUMNS, rows)} where true on conflict (id) do nothing returning id`.execute(db);
      const fresh = new Set(added.rows.map((row) => row.id));
      const { keep } = retention;
      const refused = records.filter((record) => record.verdict === 'refused');
      if (retention.due('admitted', records.length - refused.length)) {
        await keepLast(session, sql`verdict = ${sql.lit('admitted')}`, keep.admissions);
      }
      const byAccess = refused.filter(({ reason }) => (ACCESS_REASONS as readonly string[]).includes(reason));
      if (retention.due('access', byAccess.length)) await keepLast(session, BY_ACCESS, keep.accessRefusals);
      if (retention.due('refused', refused.length)) {
        await keepLast(session, REFUSED, keep.refusals);
        const latest = refused.reduce((most, record) => Math.max(most, record.at), 0);
        await discard(session, REFUSED, sql`at < ${latest - keep.refusalAge}`);
      }
      return rows.map(([id]) => fresh.delete(id as string));
    },

    async get(id) {
      const row = await db.selectFrom('tg_decisions').selectAll().where('id', '=', storedText(id)).executeTakeFirst();
      return row === undefined ? undefined : record(row);
    },

    async list(query: DecisionQuery = {}): Promise<Page<DecisionRecord>> {
      let rows = db.selectFrom('tg_decisions').selectAll();
      if (query.verdict !== undefined) rows = rows.where('verdict', '=', verdict(query.verdict));
      if (query.by === 'access') rows = rows.where(BY_ACCESS);
      if (query.by === 'limits') rows = rows.where(sql<boolean>`not ${BY_ACCESS}`);
      if (query.hidden === false) rows = rows.where('reason', '<>', 'hidden');
      if (query.principal !== undefined) rows = rows.where('principal', '=', storedText(query.principal));
      return latestFirst(rows, query, record);
    },
  };
}

/** The index finds the newest record that is one too many at the cost of skipping `count` entries. */
async function keepLast(session: Session, of: RawBuilder<unknown>, count: number): Promise<void> {
  const { rows } = await sql<{ at: number; id: string }>`
    select at, id from tg_decisions where ${of}
    order by at desc, id desc limit 1 offset ${sql.lit(natural(count, 'keep'))}`.execute(session.db);
  const last = rows[0];
  if (last !== undefined) await discard(session, of, sql`(at, id) <= (cast(${last.at} as bigint), ${last.id})`);
}

async function discard({ db }: Session, of: RawBuilder<unknown>, which: RawBuilder<unknown>): Promise<void> {
  await sql`delete from tg_decisions where ${of} and ${which}`.execute(db);
}

function verdict(value: Verdict): Verdict {
  if (value === 'admitted' || value === 'refused') return value;
  throw new TollgateError('invalid_params', 'verdict is admitted or refused');
}

function record(row: DecisionsTable): DecisionRecord {
  return {
    id: readText(row.id),
    at: row.at,
    verdict: row.verdict,
    principal: readText(row.principal),
    tool: readText(row.tool),
    method: readText(row.method),
    reason: readText(row.reason),
    json: readText(row.json),
  };
}
