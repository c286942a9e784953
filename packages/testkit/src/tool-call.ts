import type { JsonObject } from './fake-tools.ts';
import { modernBody, modernHeaders, modernMeta } from './modern-request.ts';

/** What a modern client gets for one `tools/call`. */
export interface ToolAnswer {
  readonly status: number;
  readonly headers: Headers;
  /** The `result`, or undefined for an error. */
  readonly result: (JsonObject & { readonly content?: readonly { readonly text?: string }[] }) | undefined;
  readonly error: { readonly code: number; readonly message: string; readonly data?: JsonObject } | undefined;
}

export interface ToolCallOptions {
  /** Bearer token. */
  readonly token?: string;
  readonly capabilities?: JsonObject;
  /** More members of `params`. */
  readonly params?: JsonObject;
}

let next = 0;

/** Calls a tool as a 2026-07-28 client that takes JSON only. `url` is the endpoint's. */
export async function callTool(
  url: string,
  name: string,
  args: JsonObject = {},
  { token, capabilities = {}, params = {} }: ToolCallOptions = {},
): Promise<ToolAnswer> {
  const all = { name, arguments: args, ...params, _meta: modernMeta(capabilities) };
  const response = await fetch(url, {
    method: 'POST',
    headers: [
      ...modernHeaders('tools/call', all),
      ...(token === undefined ? [] : [['Authorization', `Bearer ${token}`] as [string, string]]),
    ],
    body: modernBody(++next, 'tools/call', all),
  });
  const text = await response.text();
  // A stream when something was said before the end: the answer is its last event.
  const data = text.startsWith('{')
    ? text
    : text
        .split('\n')
        .findLast((line) => line.startsWith('data: '))!
        .slice(6);
  const { result, error } = JSON.parse(data) as { result?: ToolAnswer['result']; error?: ToolAnswer['error'] };
  return { status: response.status, headers: response.headers, result, error };
}
