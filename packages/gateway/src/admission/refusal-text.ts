/** What a refusal says. Hosts show a model nothing but this, so it must be enough to act on. */
import type { TollgateError } from '../core/errors.ts';
import type { Decision, ViolatedLimit } from './decision.ts';
import { callWords, durationWords, periodWords } from './words.ts';

/** Up to here a wait is worth sitting out; beyond it the text warns against trying in between. */
const SHORT_WAIT = 60;

/** Whether the numbers of a limit may be told: `mine` tells those that only the caller's own calls move. */
export function tellsNumbers({ disclose, by }: ViolatedLimit['limit']): boolean {
  return disclose === 'full' || (disclose === 'mine' && (by.includes('principal') || by.includes('session')));
}

export function tellsName({ disclose }: ViolatedLimit['limit']): boolean {
  return disclose !== 'none';
}

/** `Not run, not charged. You may make 30 calls a minute (calls). Repeat this same call in 2 s. [tg-7f3k]` */
export function decisionText(decision: Decision): string {
  const { binding, violated } = decision;
  const others = violated.filter((violation) => violation !== binding && tellsName(violation.limit));
  return [
    'Not run, not charged.',
    limitText(decision),
    others.length > 0 && `Also used up: ${others.map((violation) => violation.limit.name).join(', ')}.`,
    retryText(decision),
    binding.limit.message !== undefined && sentence(binding.limit.message),
    `[${decision.id}]`,
  ]
    .filter((part) => part !== false)
    .join(' ');
}

function limitText(decision: Decision): string {
  const { limit } = decision.binding;
  if (!tellsName(limit)) return 'A limit is used up.';
  if (!tellsNumbers(limit)) return `The limit ${limit.name}, shared with other callers, is used up.`;
  const session = limit.by.includes('session') && decision.inSession;
  const mine = limit.by.includes('principal') || limit.by.includes('session');
  const who = session ? 'This session' : mine ? 'You' : 'All callers together';
  const where = [
    limit.by.includes('tool') && decision.kind !== 'none' && ` of this ${decision.kind}`,
    limit.by.includes('server') && ' to this server',
    limit.by.includes('endpoint') && ' at this endpoint',
  ].filter((part) => part !== false);
  const burst = limit.burst > 0 ? `, ${limit.count + limit.burst} at once` : '';
  const rate = `${callWords(limit.count)}${where.join('')} ${periodWords(limit.periodMs)}${burst}`;
  return `${who} may make ${rate} (${limit.name}).`;
}

function retryText(decision: Decision): string {
  const seconds = decision.retryAfterSeconds;
  if (seconds === undefined) return 'Do not repeat it: this one call takes more than the limit holds.';
  if (seconds <= SHORT_WAIT) return `Repeat this same call in ${seconds} s.`;
  return `Repeat this same call in ${durationWords(seconds)}; not before, it would be refused again.`;
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
