/** Who sends a request of the user API, for whom, and what it says. */
import type { Context } from 'hono';
import type * as z from 'zod';
import { mayDo, type RightName } from '../../access/rights.ts';
import { TollgateError } from '../../core/errors.ts';
import { canonicalPrincipalId, type Principal } from '../../core/principal.ts';
import { checkBodyHead } from '../../inbound/body.ts';
import { bodyBytes } from '../body-bytes.ts';
import { strictJson } from '../strict-json.ts';

/** Names of users have at most this many characters here. */
export const MAX_ID = 700;

/**
 * The id of the user whom a request is about: one person in two tenants is two users. A caller is itself, by its id, its
 * subject, or its id without the tenant, which to admins is who has none: they may name anybody, by the id. Throws
 * `user_mismatch`, which says the same whether that user exists or not.
 */
export function subjectOf(caller: Principal, userId: string | undefined, right: RightName): string {
  if (userId === undefined || userId === caller.id || userId === caller.subject) return caller.id;
  if (!mayDo(caller.roles, right, 'others')) {
    if (userId === caller.person) return caller.id;
    throw new TollgateError('user_mismatch', 'user_id is not you: leave it to your own id.');
  }
  if (/^[A-Za-z0-9_-]{1,64}(?:@[^/]{1,300})?\/.{1,256}$/s.test(userId)) return canonicalPrincipalId(userId);
  throw new TollgateError(
    'invalid_params',
    'Name another user by the whole id, entry/subject or entry@tenant/subject.',
    { http: 400 },
  );
}

/** Bytes of a body that holds a key and little else. */
const MAX_BODY = 16 * 1024;

async function bodyOf(c: Context, cap: number): Promise<Buffer> {
  const head = {
    contentType: c.req.header('content-type'),
    contentEncoding: c.req.header('content-encoding'),
    contentLength: c.req.header('content-length'),
  };
  const wrong = checkBodyHead(head, cap);
  if (wrong !== undefined) throw wrong;
  return bodyBytes(c, cap);
}

/**
 * The JSON body by the same strict rules as MCP: what two readers could read differently is refused. Throws
 * `parse_error` or `invalid_request` for that, `invalid_params` with status 422 for members that are missing or wrong,
 * `payload_too_large` beyond `maxBody` bytes.
 */
export async function readStrictly<T extends z.ZodType>(
  c: Context,
  schema: T,
  maxBody = MAX_BODY,
): Promise<z.output<T>> {
  const result = schema.safeParse(strictJson(await bodyOf(c, maxBody), { exact: true }));
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => `${issue.path.join('.') || 'body'}: ${wordsOf(issue)}`);
  throw new TollgateError('invalid_params', problems.join('; '), { http: 422 });
}

/** A key that somebody wrote where a name belongs must not stand in an answer: only what looks like a name is told. */
function wordsOf(issue: z.core.$ZodIssue): string {
  if (issue.code !== 'unrecognized_keys') return issue.message;
  const names = issue.keys.filter((key) => /^[a-z_]{1,24}$/i.test(key));
  return `Unrecognized key${names.length === 0 ? '' : `: ${names.map((name) => `"${name}"`).join(', ')}`}`;
}
