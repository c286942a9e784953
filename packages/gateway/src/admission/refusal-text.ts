/** What a refusal says. Hosts show a model nothing but this, so it must be enough to act on. */
import type { TollgateError } from '../core/errors.ts';
import type { Decision, ViolatedLimit } from './decision.ts';
import { tellsName, tellsNumbers } from './disclosure.ts';
import { amountText, decimalText, isCurrency } from './price.ts';
import { budgetWords, callWords, clockWords, durationWords, periodWords } from './words.ts';

/** Up to here a wait is worth sitting out; beyond it the text warns against trying in between. */
const SHORT_WAIT = 60;

/** `Not run, not charged. You may make 30 calls a minute (calls). Repeat this same call in 2 s. [tg-7f3k]` */
export function decisionText(decision: Decision): string {
  const { binding, violated } = decision;
  const others = violated.filter((violation) => violation !== binding && tellsName(violation));
  const parts = [
    decision.money ? 'Not run.' : 'Not run, not charged.',
    binding === undefined ? sentence(decision.because ?? 'It is refused') : limitText(decision, binding),
    others.length > 0 && `Also used up: ${others.map((violation) => violation.limit.name).join(', ')}.`,
    retryText(decision),
    binding?.limit.message !== undefined && sentence(binding.limit.message),
    `[${decision.id}]`,
  ];
  return parts.filter((part) => typeof part === 'string').join(' ');
}

function limitText(decision: Decision, binding: ViolatedLimit): string {
  const { limit, quota, reason } = binding;
  if (reason === 'limit_unavailable') return 'Its limits cannot be looked up at the moment.';
  if (!tellsName(binding))
    return 'amount' in quota ? 'A limit on what calls cost is in the way.' : 'A limit is used up.';
  if (!tellsNumbers(binding)) return `The limit ${limit.name}, shared with other callers, is used up.`;
  switch (quota.kind) {
    case 'per-call':
      return `This call would cost ${exact(binding.cost, binding)}, and one call may cost ${exact(binding.capacity, binding)} (${limit.name}).`;
    case 'amount':
    case 'total':
      return budgetText(decision, binding);
    case 'concurrency':
      return `${who(decision, binding)} may have ${callWords(binding.capacity)}${where(decision, binding)} at the same time (${limit.name}).`;
    default: {
      const atOnce = limit.algorithm === 'token-bucket' && quota.burst > 0 ? `, ${binding.capacity} at once` : '';
      const rate = `${callWords(quota.count)}${where(decision, binding)} ${periodWords(quota.period)}${atOnce}`;
      return `${who(decision, binding)} may make ${rate} (${limit.name}).`;
    }
  }
}

/** `Today's budget is used up: 20.00 of 20.00 USD`, `… has 0.50 of 20.00 USD left and this call needs 0.75 USD`. */
function budgetText(decision: Decision, binding: ViolatedLimit): string {
  const { quota, limit, used, held, capacity, cost, remaining } = binding;
  const whose = where(decision, binding) + shared(binding);
  const budget = `${budgetWords(quota)}${whose} (${limit.name})`;
  const running = held > 0 ? `, of which running calls hold ${exact(held, binding)}` : '';
  const left = remaining > 0;
  const state = left
    ? `has ${number(remaining, binding)} of ${exact(capacity, binding)} left and this call needs ${exact(cost, binding)}`
    : `is used up: ${number(used, binding)} of ${exact(capacity, binding)}${running}`;
  if (quota.kind === 'total') return `${budget} ${state}; only an administrator can reset it.`;
  return `${budget} ${state}${resetText(decision, binding)}.`;
}

function resetText({ at }: Decision, { limit, quota, resetAt, retryAfterSeconds }: ViolatedLimit): string {
  if (resetAt === undefined || retryAfterSeconds === undefined) return '';
  const calendar = quota.kind === 'amount' && quota.period.kind === 'calendar' && limit.algorithm === 'fixed-window';
  if (!calendar) return `; there is room for it in ${durationWords(retryAfterSeconds)}`;
  return `; it resets at ${clockWords(resetAt, at, limit.timezone)}, in ${durationWords(retryAfterSeconds)}`;
}

function retryText({ retryAfterSeconds: seconds, reason, estimated, money, binding }: Decision): string | false {
  if (seconds === undefined) {
    switch (reason) {
      case 'limit_unavailable':
        return 'Repeat this same call in a moment.';
      case 'stopped':
      case 'unpriced':
      case 'budget_exhausted':
        return 'Do not retry.';
      case 'expression_failed':
      case 'price_above_max':
      case 'per_request_cost_exceeded':
        return 'Do not repeat it with the same arguments.';
      default:
        return 'Do not repeat it: this one call takes more than the limit holds.';
    }
  }
  // A store that is away gives no time back when calls end.
  if (estimated && reason !== 'limit_unavailable')
    return `Repeat this same call when running calls have ended, at the latest in ${durationWords(seconds)}.`;
  if (money || reason === 'stopped') {
    const said = money && binding !== undefined && tellsNumbers(binding);
    return said ? 'Do not retry before then.' : `Do not retry before ${durationWords(seconds)} have passed.`;
  }
  if (seconds <= SHORT_WAIT) return `Repeat this same call in ${seconds} s.`;
  return `Repeat this same call in ${durationWords(seconds)}; not before, it would be refused again.`;
}

function who({ inSession }: Decision, { limit: { by } }: ViolatedLimit): string {
  if (by.includes('session') && inSession) return 'This session';
  if (by.includes('principal') || by.includes('session') || by.includes('client')) return 'You';
  return by.includes('tenant') ? 'Your tenant' : 'All callers together';
}

function shared({ limit: { by } }: ViolatedLimit): string {
  if (by.includes('principal') || by.includes('session') || by.includes('client')) return '';
  return by.includes('tenant') ? ' of your tenant' : ' of all callers';
}

function where({ kind }: Decision, { limit: { by } }: ViolatedLimit): string {
  const parts = [
    by.includes('tool') && kind !== 'none' && ` of this ${kind}`,
    by.includes('args') && ' with the same arguments',
    by.includes('server') && ' to this server',
    by.includes('endpoint') && ' at this endpoint',
  ];
  return parts.filter((part) => part !== false).join('');
}

function unitOf({ quota }: ViolatedLimit): string {
  return 'amount' in quota ? quota.amount.unit : '';
}

function exact(micros: number, violation: ViolatedLimit): string {
  return amountText(micros, unitOf(violation));
}

function number(micros: number, violation: ViolatedLimit): string {
  return decimalText(micros, isCurrency(unitOf(violation)) ? 2 : 0);
}

/** `Unknown outcome: no answer from github in 30 s; it may have run. Check before repeating. [tg-…]` */
export function errorText(error: TollgateError, decisionId: string): string {
  if (error.code === 'internal') {
    return `Internal error of the gateway; whether the call ran is not known. The log has the cause under this id. [${decisionId}]`;
  }
  const what = sentence(error.message);
  if (error.executed === 'unknown') {
    const doubt = /\bmay have run\b/i.test(what) ? '' : ' It may have run.';
    return `Unknown outcome: ${what}${doubt} Check before repeating. [${decisionId}]`;
  }
  const done = error.executed === 'yes' ? 'It ran.' : 'Not run.';
  const wait = error.retryAfterSeconds;
  const retry = wait === undefined ? '' : ` Repeat this same call in ${durationWords(Math.max(1, Math.ceil(wait)))}.`;
  // Some messages already begin with what happened to the call.
  const lead = what.toLowerCase().startsWith(done.slice(0, -1).toLowerCase()) ? '' : `${done} `;
  return `${lead}${what}${error.executed === 'yes' ? '' : retry} [${decisionId}]`;
}

/** One sentence: no control characters or line breaks of a server's making, and an end. */
function sentence(text: string): string {
  const clean = text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ').trim();
  return /[.!?…]$/.test(clean) ? clean : `${clean}.`;
}
