/** Error codes of MCP 2026-07-28 (basic protocol, "Error Codes"; Streamable HTTP). */

/** Codes whose HTTP status the specification pins; every other error of a request travels with 200. */
const STATUS: ReadonlyMap<number, number> = new Map([
  [-32700, 400],
  [-32600, 400],
  [-32601, 404],
  [-32020, 400],
  [-32021, 400],
  [-32022, 400],
]);

/** HTTP status under which a server's error is relayed to a modern client. */
export function statusOfRpcCode(code: number): number {
  return STATUS.get(code) ?? 200;
}
