/** A record of a decision in prose: who, what, verdict, each rule with its numbers, what would have let it pass. */
import { formatMicros } from '../config/amounts.ts';
import { oneLine } from '../core/plain-text.ts';
import type { DecisionDocument, RuleEntry } from '../telemetry/decisions/record.ts';

/** The whole record. */
export function decisionText(record: DecisionDocument): string {
  const lines = [
    head(record),
    `  who     ${who(record)}`,
    `  what    ${what(record)}`,
    ...record.rules.map((rule) => `  ${rule === record.rules[0] ? 'rules ' : '      '}  ${ruleLine(rule)}`),
  ];
  if (record.access !== undefined) lines.push(...accessLines(record, record.access));
  else if (record.rules.length === 0) lines.push('  rules   none covered the call');
  const cost = amounts(record.cost);
  if (cost !== '') lines.push(`  price   ${cost}${record.price === undefined ? '' : ` (${PRICES[record.price]})`}`);
  if (record.hold !== undefined) lines.push(`  hold    ${record.hold.id}: ${amounts(record.hold.amounts)}`);
  if (record.shadowed !== undefined) lines.push(`  shadow  would have refused: ${record.shadowed.join(', ')}`);
  if (record.waitedMs !== undefined) lines.push(`  waited  ${seconds(record.waitedMs / 1000)}`);
  if (record.degraded !== undefined) lines.push(`  store   could not be reached: ${DEGRADED[record.degraded]}`);
  for (const [source, value] of Object.entries(record.expressions ?? {})) {
    lines.push(`  value   ${source} = ${value === null ? 'failed' : String(value)}`);
  }
  if (record.verdict === 'refused') lines.push(...remedies(record).map((remedy) => `  passes  ${remedy}`));
  return lines.map(oneLine).join('\n');
}

/** One line for a list. */
export function decisionLine(record: DecisionDocument): string {
  const rule = record.rules.find(({ violated }) => violated === true)?.name;
  const because =
    record.verdict === 'admitted'
      ? amounts(record.cost)
      : [record.reason, rule ?? (record.reason === 'hidden' ? `by ${record.access?.by}` : '')]
          .filter(Boolean)
          .join(' ');
  const method = record.method === '' ? '-' : record.method;
  const parts = [record.at, record.id, record.verdict, record.caller.id, method, record.object ?? '-', because];
  return oneLine(parts.join('  ')).trimEnd();
}

const PRICES = {
  none: 'told with the check; the tool has no price',
  fixed: 'fixed',
  computed: 'computed from the arguments',
  reported: 'held; the result says what it costs',
} as const;

const DEGRADED = {
  local: 'decided by the share of this process',
  open: 'let through',
  closed: 'refused',
} as const;

function head({ id, verdict, at, reason, because }: DecisionDocument): string {
  const when = `${at.slice(0, 10)} ${at.slice(11, 19)} UTC`;
  if (verdict === 'admitted') return `${id} was admitted on ${when}.`;
  return `${id} was refused on ${when}: ${reason ?? 'no reason'}.${because === undefined ? '' : ` ${because}`}`;
}

function who({ caller, endpoint }: DecisionDocument): string {
  const details = [
    ...(caller.tenant === undefined ? [] : [`tenant ${caller.tenant}`]),
    `tier ${caller.tier}`,
    ...(caller.roles === undefined || caller.roles.length === 0 ? [] : [`roles ${caller.roles.join(', ')}`]),
    ...(caller.client === undefined ? [] : [`client ${caller.client}`]),
    ...(caller.session === undefined ? [] : [`session #${caller.session}`]),
  ];
  return `${caller.id} (${details.join(', ')}) at ${endpoint}`;
}

type Access = NonNullable<DecisionDocument['access']>;

/** What access asked for, and what the caller had. */
function accessLines({ caller, reason }: DecisionDocument, access: Access): string[] {
  const lines = [`  access  ${accessText(access)}`];
  if (access.by === 'scope') lines.push(`  has     ${caller.scopes?.join(' ') || 'no scope'}`);
  if (reason === 'hidden') lines.push('  told    that the name does not exist');
  return lines;
}

function accessText({ by, scopes = [], route, rules = [], block }: Access): string {
  switch (by) {
    case 'scope':
      return `needs ${scopes.length > 1 ? 'the scopes' : 'the scope'} ${scopes.join(' and ')}${route === undefined ? '' : `; route ${route} decides`}`;
    case 'condition':
      return `no condition held: ${rules.map(({ rule, when }) => `rule ${rule}, ${when}`).join('; ')}`;
    case 'rules':
      return 'no rule of `access` gives it to this caller';
    case 'endpoint':
      return '`tools` of the endpoint leave it out';
    case 'pin':
      return 'nobody has approved its definition';
    case 'block':
      return `an operator keeps ${block?.who} out${block?.until === undefined ? '' : ` until ${block.until}`}: ${block?.reason} (${block?.id})`;
  }
}

function accessRemedy({ by, block }: Access, object: string | undefined): string {
  switch (by) {
    case 'scope':
      return 'with a credential that has what is needed';
    case 'condition':
      return 'with arguments for which one of these conditions is true';
    case 'rules':
      return `with a rule of \`access\` that gives ${object ?? 'all of the server'} to this caller`;
    case 'endpoint':
      return `when \`tools\` of the endpoint let ${object} in`;
    case 'pin':
      return `after tollgate trust approve ${object}`;
    case 'block':
      return `after tollgate unblock ${block?.who}`;
  }
}

function what(record: DecisionDocument): string {
  const { method, object, arguments: args } = record;
  if (method === '') return 'a request; nothing of it was read';
  const call = object === undefined ? method : `${method} ${object}`;
  if (args === undefined) return call;
  const keys = args.shape.type === 'object' ? `, keys ${Object.keys(args.shape.keys).join(', ') || 'none'}` : '';
  return `${call} with arguments of ${args.size} bytes${keys}, #${args.digest}`;
}

function ruleLine(rule: RuleEntry): string {
  const cost = rule.unit === '' ? '' : `takes ${quantity(rule.cost, rule.unit)}`;
  const label = `${rule.name}${rule.shadow === true ? ' (shadow)' : ''}`;
  const { capacity, usedBefore, usedAfter, remaining, held } = rule;
  const numbers =
    capacity === undefined || usedBefore === undefined
      ? ''
      : `${quantity(usedBefore, rule.unit)} of ${quantity(capacity, rule.unit)} used before` +
        `${usedAfter === usedBefore ? ' and after' : `, ${quantity(usedAfter ?? usedBefore, rule.unit)} after`}` +
        `${remaining === undefined ? '' : `, ${quantity(remaining, rule.unit)} left`}` +
        `${held === undefined || held === 0 ? '' : `, ${quantity(held, rule.unit)} held by calls that run`}`;
  const verdict = rule.violated === true ? `in the way (${rule.reason ?? 'no room'})` : 'had room';
  return [`${label}: ${verdict}`, cost, numbers].filter((part) => part !== '').join('; ');
}

/** For each rule in the way: when it has room, and the number that would have had room. */
function remedies(record: DecisionDocument): string[] {
  if (record.access !== undefined) return [accessRemedy(record.access, record.object)];
  const inTheWay = record.rules.filter((rule) => rule.violated === true);
  const at = Date.parse(record.at);
  const lines: string[] = [];
  if (record.retryAfterSeconds !== undefined) {
    const until = new Date(at + record.retryAfterSeconds * 1000).toISOString();
    const about = record.estimated === true ? 'at the latest ' : '';
    lines.push(
      `${about}${seconds(record.retryAfterSeconds)} later, at ${until.slice(11, 19)} UTC, if nothing else is called`,
    );
  } else if (inTheWay.length > 0) {
    lines.push('not by waiting');
  }
  for (const { name, cost, usedBefore, capacity, unit } of inTheWay) {
    if (usedBefore === undefined || capacity === undefined || unit === '') continue;
    lines.push(
      `with room for ${quantity(usedBefore + cost, unit)} in ${name}, which holds ${quantity(capacity, unit)}`,
    );
  }
  if (lines.length === 0) lines.push(`when its reason is gone: ${record.reason ?? 'unknown'}`);
  return lines;
}

function quantity(value: number, unit: string): string {
  switch (unit) {
    case '':
      return String(value);
    case 'requests':
      return `${value} ${value === 1 ? 'call' : 'calls'}`;
    case 'concurrent-requests':
      return `${value} at once`;
    default:
      return `${formatMicros(value)} ${unit}`;
  }
}

function amounts(byUnit: Readonly<Record<string, number>> | undefined): string {
  return Object.entries(byUnit ?? {})
    .map(([unit, micros]) => `${formatMicros(micros)} ${unit}`)
    .join(', ');
}

function seconds(value: number): string {
  if (value < 120) return `${Number(value.toFixed(3))} s`;
  const whole = Math.ceil(value);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.ceil((whole % 3600) / 60)];
  if (hours === 0) return `${minutes} min`;
  return hours < 48 ? `${hours} h ${minutes} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
