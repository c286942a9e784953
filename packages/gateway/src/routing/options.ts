/** One route, in file order. Exactly one of tool, resource, prompt is set, or none (the default route). */
export interface RouteOptions {
  readonly tool: string | undefined;
  readonly resource: string | undefined;
  readonly prompt: string | undefined;
  /** Servers that may run it, in order of preference. */
  readonly to: readonly string[];
  /** Scope the caller needs; undefined: none. */
  readonly scope: string | undefined;
  /** Whole-call deadline in milliseconds in place of the server's. */
  readonly timeout: number | undefined;
}
