/**
 * The gateway's own tool: what a caller has left. It exists only where a limit covers a tool that the caller is shown,
 * and it is never counted itself, so that who has nothing left can still ask when.
 */
import type { Admission } from '../admission/contract.ts';
import type { QuotaLimit, QuotaReport } from '../admission/quota.ts';
import { durationWords } from '../admission/words.ts';
import { TollgateError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import type { Call } from '../protocol/call.ts';
import { Field } from '../protocol/message.ts';
import type { Target, TargetResolver } from './targets.ts';

export const QUOTA_TOOL = 'tollgate_quota';

/** As it stands in `tools/list`, in both eras. */
export const QUOTA_TOOL_TEXT: string = JSON.stringify({
  name: QUOTA_TOOL,
  title: 'What is left',
  description:
    'Tells how many calls and how much money you have left, when it comes back, and what tools cost. Free and never refused.',
  inputSchema: {
    type: 'object',
    properties: { tool: { type: 'string', description: 'Only what concerns this tool. Default: all tools.' } },
    additionalProperties: false,
  },
  annotations: { readOnlyHint: true, openWorldHint: false },
});

/** Text for a model; the same as data is in `structuredContent`. */
const MAX_LINES = 100;
/**
 * Reports on all tools that one caller gets afresh in a second; more in it are answered with the last of them. Nothing
 * counts these calls, and one looks at every limit of every tool.
 */
const FRESH = 5;
const SECOND = 1000;

interface Recent {
  readonly since: number;
  made: number;
  last: Promise<QuotaReport | undefined>;
}

export class QuotaTool {
  readonly #targets: TargetResolver;
  readonly #recent = new WeakMap<Principal, Recent>();

  constructor(targets: TargetResolver) {
    this.#targets = targets;
  }

  /** Whether the tool exists for this caller. */
  listed(limits: Admission, principal: Principal): boolean {
    return (
      limits.limits.length > 0 && this.#targets.tools(principal).some((target) => limits.covers('tools/call', target))
    );
  }

  /** JSON text of the result. Rejects with `invalid_params`, and for a tool like a call of it would. */
  async report(limits: Admission, call: Call, now: number): Promise<string> {
    const asked = this.#asked(call);
    const report = await (asked === undefined ? this.#ofAll(limits, call, now) : limits.quota(call, [asked], now));
    const content = [{ type: 'text', text: report === undefined ? 'No limit applies.' : textOf(report) }];
    return JSON.stringify({
      ...(call.era === 'modern' ? { resultType: 'complete' } : {}),
      content,
      structuredContent: report ?? { limits: [], prices: [] },
    });
  }

  #ofAll(limits: Admission, call: Call, now: number): Promise<QuotaReport | undefined> {
    const { principal } = call;
    const recent = this.#recent.get(principal);
    const fresh = recent !== undefined && now - recent.since < SECOND ? recent : undefined;
    if (fresh !== undefined && fresh.made >= FRESH) return fresh.last;
    const last = limits.quota(call, this.#targets.tools(principal), now);
    if (fresh === undefined) this.#recent.set(principal, { since: now, made: 1, last });
    else {
      fresh.made++;
      fresh.last = last;
    }
    return last;
  }

  /** The one tool that the call is about; undefined: all of them. */
  #asked(call: Call): Target | undefined {
    const args = (call.message.json(Field.arguments) ?? {}) as Readonly<Record<string, unknown>>;
    const { tool, ...rest } = args;
    if (Array.isArray(args) || typeof args !== 'object' || Object.keys(rest).length > 0) {
      throw new TollgateError('invalid_params', `${QUOTA_TOOL} takes {} or { "tool": NAME }`);
    }
    if (tool === undefined) return undefined;
    if (typeof tool !== 'string') throw new TollgateError('invalid_params', `${QUOTA_TOOL}: tool must be a string`);
    return this.#targets.tool(tool, call.principal);
  }
}

function textOf({ limits, prices }: QuotaReport): string {
  const lines = [...limits.map(limitLine), ...prices.map(({ tool, price }) => `- ${tool} costs ${price}.`)];
  const more = lines.length > MAX_LINES ? [`- and ${lines.length - MAX_LINES} more, see structuredContent.`] : [];
  return [...lines.slice(0, MAX_LINES), ...more].join('\n');
}

function limitLine({ limit, rule, remaining, of, unit, retryAfterSeconds, resetAt }: QuotaLimit): string {
  const left = remaining === undefined ? '' : ` ${remaining} of ${of} ${unit} left.`;
  const when =
    retryAfterSeconds === undefined || retryAfterSeconds === 0 ? '' : ` Next in ${durationWords(retryAfterSeconds)}.`;
  const reset = resetAt === undefined ? '' : ` Full again at ${resetAt}.`;
  return `- ${limit}: ${rule ?? 'shared with others'}.${left}${when}${reset}`;
}
