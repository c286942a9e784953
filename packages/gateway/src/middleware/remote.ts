import { TollgateError } from '../core/errors.ts';
import type { LimiterAnswer, LimiterLike } from './limiter.ts';

export interface RemoteLimiterOptions {
  /** Address of `admin` of the gateway, for example `http://127.0.0.1:7118`. */
  readonly url: string;
  /** Credential with the role admin, which may ask about others. */
  readonly token: string;
  /** Milliseconds for one answer. Default 2000. */
  readonly timeout?: number;
}

/** Bytes of one answer; more is none of a gateway. */
const MAX_ANSWER = 1024 * 1024;

/**
 * The limits of a running gateway, over `/v1/check` and `/v1/ops`. `process` rejects with `server_unavailable` when it
 * does not answer in time, and with `unauthorized` when it does not take the token.
 */
export function remoteLimiter({ url, token, timeout = 2000 }: RemoteLimiterOptions): LimiterLike {
  const base = url.endsWith('/') ? url : `${url}/`;
  return {
    async process(input) {
      const { operation, ...question } = input;
      const asks = operation === undefined || operation === 'check_mcp_limit';
      const body = JSON.stringify(asks ? { ...question, mode: 'consume' } : input);
      const response = await answerOf(new URL(asks ? 'v1/check' : 'v1/ops', base), body, token, timeout);
      return { ...(asks && response.ok ? { status: 'success' } : {}), ...response.answer };
    },
  };
}

async function answerOf(
  url: URL,
  body: string,
  token: string,
  timeout: number,
): Promise<{ readonly ok: boolean; readonly answer: LimiterAnswer }> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body,
      // A gateway does not redirect; whoever answers in its place must not be sent the token.
      redirect: 'error',
      signal: AbortSignal.timeout(timeout),
    });
    text = await response.text();
  } catch (error) {
    throw unavailable(`The gateway at ${url.origin} does not answer`, error);
  }
  if (response.status === 401) {
    throw new TollgateError('unauthorized', `The gateway at ${url.origin} does not accept the token`);
  }
  if (response.status >= 500 || text.length > MAX_ANSWER) {
    throw unavailable(`The gateway at ${url.origin} answered ${response.status}`);
  }
  try {
    return { ok: response.ok, answer: JSON.parse(text) as LimiterAnswer };
  } catch (error) {
    throw unavailable(`What answers at ${url.origin} is no gateway`, error);
  }
}

function unavailable(message: string, cause?: unknown): TollgateError {
  return new TollgateError('server_unavailable', message, { cause });
}
