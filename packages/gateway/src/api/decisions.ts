/**
 * Records of decisions over the control API: `GET /decisions/{id}` and `GET /decisions`. Operators, auditors and
 * admins see all of them; who has only the role `user` sees its own, and of others nothing, not even that they exist.
 * Of its own it sees what limits and access disclose to it: a record must not tell what the refusal kept back.
 */
import type { Context } from 'hono';
import { TollgateError } from '../core/errors.ts';
import { canonicalPrincipalId, type Principal } from '../core/principal.ts';
import { type DecisionDocument, type RuleEntry, readRecord, tenantOfRecord } from '../telemetry/decisions/record.ts';
import type { DecisionPage, DecisionQuery, StoredDecision } from '../telemetry/decisions/store.ts';
import type { Asked, GuardedRoutes } from './guarded.ts';
import { unclear } from './written.ts';

export interface DecisionPort {
  get(id: string): Promise<StoredDecision | undefined>;
  list(query: DecisionQuery): Promise<DecisionPage>;
}

const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 1000;

export function addDecisions(routes: GuardedRoutes, port: DecisionPort): void {
  routes.get('/decisions/:id', 'decisions.read', async (c, asked) => {
    const only = onlyOf(asked);
    const found = await port.get(c.req.param('id') ?? '');
    if (found === undefined || (only !== undefined && (!isOf(found, only) || found.reason === 'hidden'))) {
      throw new TollgateError(
        'not_found',
        'There is no record of this decision. Refusals are kept longer than admissions.',
      );
    }
    return json(c, only === undefined ? found.json : toldOf(found));
  });

  routes.get('/decisions', 'decisions.read', async (c, asked) => {
    const only = onlyOf(asked);
    const query = readQuery(c, only);
    const page = await port.list(query);
    const items = only === undefined ? page.items : page.items.filter((item) => isOf(item, only));
    const texts = items.map((item) => (only === undefined ? item.json : toldOf(item)));
    if (c.req.query('format') === 'jsonl') {
      if (page.next !== undefined) c.header('X-Next', page.next);
      return c.body(texts.map((text) => `${text}\n`).join(''), 200, {
        'content-type': 'application/x-ndjson',
      });
    }
    const records = texts.join(',');
    return json(
      c,
      `{"decisions":[${records}]${page.next === undefined ? '' : `,"next":${JSON.stringify(page.next)}`}}`,
    );
  });
}

/** The one principal whose records the caller may see; undefined: everybody's. */
function onlyOf({ principal, reach }: Asked): Principal | undefined {
  return reach === 'others' ? undefined : principal;
}

/** Records of before ids had their tenant name the person alone: those of a tenant are not of who has none. */
function isOf({ principal, json: text }: StoredDecision, { id, tenant }: Principal): boolean {
  return principal === id && tenantOfRecord(text) === tenant;
}

/** A record as its caller may see it: the policy of the operator and the counters of others are left out. */
function toldOf({ id, json: text }: StoredDecision): string {
  const record = readRecord(text);
  if (typeof record === 'string') return JSON.stringify({ id });
  const { expressions: _, shadowed: __, configuration: ___, rules, access, ...told } = record;
  // Whether the name exists is not told to who lacks a scope for it.
  if (access?.by === 'scope') {
    delete told.object;
    delete told.server;
  }
  return JSON.stringify({
    ...told,
    ...(access === undefined ? {} : { access: toldOfAccess(access) }),
    rules: rules.filter(({ hidden, shadow }) => hidden !== 'limit' && shadow !== true).map(toldOfRule),
  });
}

/** What the refusal said: not which rule, nor who made a block and why. */
function toldOfAccess({ by, scopes, block }: NonNullable<DecisionDocument['access']>): object {
  return { by, scopes, until: block?.until };
}

function toldOfRule(rule: RuleEntry): RuleEntry {
  if (rule.hidden === undefined) return rule;
  const { name, unit, cost, hidden, violated, reason, retryAfterSeconds } = rule;
  return { name, unit, cost, hidden, violated, reason, retryAfterSeconds };
}

function readQuery(c: Context, only: Principal | undefined): DecisionQuery {
  const verdict = c.req.query('verdict');
  if (verdict !== undefined && verdict !== 'admitted' && verdict !== 'refused') {
    throw unclear('verdict is admitted or refused');
  }
  const by = c.req.query('by');
  if (by !== undefined && by !== 'limits' && by !== 'access') throw unclear('by is limits or access');
  const after = c.req.query('after');
  const limit = readNumber(c, 'limit') ?? DEFAULT_LIMIT;
  if (limit < 1 || limit > MAX_LIMIT) throw unclear(`limit is a whole number from 1 to ${MAX_LIMIT}`);
  const asked = c.req.query('principal');
  const principal = only?.id ?? (asked === undefined ? undefined : canonicalPrincipalId(asked));
  const from = readTime(c, 'from');
  const to = readTime(c, 'to');
  return {
    limit,
    ...(verdict === undefined ? {} : { verdict }),
    ...(by === undefined ? {} : { by }),
    // Left out by the storage: a part that came up short would tell of them.
    ...(only === undefined ? {} : { hidden: false }),
    ...(principal === undefined ? {} : { principal }),
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    ...(after === undefined ? {} : { after }),
  };
}

function readNumber(c: Context, name: string): number | undefined {
  const text = c.req.query(name);
  if (text === undefined) return undefined;
  if (!/^[0-9]{1,15}$/.test(text)) throw unclear(`${name} is a whole number`);
  return Number(text);
}

/** Milliseconds since the epoch, or an ISO time with its zone. */
function readTime(c: Context, name: string): number | undefined {
  const text = c.req.query(name);
  if (text === undefined) return undefined;
  if (/^[0-9]{1,15}$/.test(text)) return Number(text);
  const time = /^\d{4}-\d\d-\d\dT.*(?:Z|[+-]\d\d:\d\d)$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time) || time < 0) throw unclear(`${name} is a time such as 2026-03-01T10:00:00Z`);
  return time;
}

function json(c: Context, text: string): Response {
  return c.body(text, 200, { 'content-type': 'application/json' });
}
