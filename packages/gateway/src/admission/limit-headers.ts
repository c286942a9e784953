/** Headers of a refusal: RFC 9110 and draft-ietf-httpapi-ratelimit-headers. */
import type { Decision, ViolatedLimit } from './decision.ts';
import { tellsName, tellsNumbers } from './disclosure.ts';
import { lengthOf, SLOTS } from './rules.ts';

/**
 * `Retry-After`, and one `RateLimit` item for each limit in the way that may be named, with its own time; a policy
 * item where its numbers may be told. Amounts have no registered unit and stay out.
 */
export function limitHeaders({ retryAfterSeconds, violated }: Decision): [string, string][] {
  const headers: [string, string][] = [];
  if (retryAfterSeconds !== undefined) headers.push(['retry-after', String(retryAfterSeconds)]);
  const named = violated.filter((violation) => tellsName(violation) && !('amount' in violation.quota));
  if (named.length > 0) headers.push(['ratelimit', named.map(limitItem).join(', ')]);
  const open = named.filter(tellsNumbers);
  if (open.length > 0) headers.push(['ratelimit-policy', open.map(policyItem).join(', ')]);
  return headers;
}

/** Names of limits are letters, digits, `_` and `-`: safe inside a structured string. Untold counts are 0. */
function limitItem(violation: ViolatedLimit): string {
  const { limit, remaining, retryAfterSeconds } = violation;
  const time = retryAfterSeconds === undefined ? '' : `;t=${retryAfterSeconds}`;
  return `"${limit.name}";r=${tellsNumbers(violation) ? remaining : 0}${time}`;
}

/** The draft has whole seconds only; a shorter period is told as its rate per second. */
function policyItem({ limit: { name }, quota }: ViolatedLimit): string {
  if (quota.kind === 'concurrency') return `"${name}";q=${quota.count};qu="${SLOTS}"`;
  if (quota.kind !== 'rate') return `"${name}";q=0`;
  const ms = lengthOf(quota.period);
  if (ms < 1000) return `"${name}";q=${Math.floor((quota.count * 1000) / ms)};w=1`;
  return `"${name}";q=${quota.count};w=${Math.ceil(ms / 1000)}`;
}
