/**
 * The first line on an attach connection, by which both ends know each other: `{"tollgate":1,"endpoint":"/mcp"}`,
 * answered by `{"ok":true}` or `{"error":"…"}`, with `"retry":true` where a later attempt can help. Everything after it is MCP over stdio.
 */
export const HELLO_VERSION = 1;
/** Bytes of the hello line and of its answer. */
export const HELLO_MAX = 4096;

/** The endpoint a client wants, or undefined when the line is no hello of this version. */
export function readHello(line: string): string | undefined {
  const hello = parse(line);
  if (hello?.['tollgate'] !== HELLO_VERSION) return undefined;
  return typeof hello['endpoint'] === 'string' ? hello['endpoint'] : undefined;
}

export function helloLine(endpoint: string): string {
  return `${JSON.stringify({ tollgate: HELLO_VERSION, endpoint })}\n`;
}

/** What the gateway answered: undefined when it agreed, else why it did not and whether to try again. */
export function helloRefusal(line: string): { readonly why: string; readonly retry: boolean } | undefined {
  const answer = parse(line);
  if (answer?.['ok'] === true) return undefined;
  const why = answer?.['error'];
  return typeof why === 'string'
    ? { why, retry: answer?.['retry'] === true }
    : { why: 'the answer is not one of a Tollgate gateway', retry: false };
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
