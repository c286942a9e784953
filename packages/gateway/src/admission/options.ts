/** What a limit counts by. `everyone` adds nothing: alone, or with no other, all calls share one counter. */
export type LimitKey = 'everyone' | 'principal' | 'session' | 'tool' | 'server' | 'endpoint';

/** What a refusal may tell; see product semantics in `docs/refusals.md`. */
type Disclosure = 'full' | 'mine' | 'none';

/** One limit: complete and checked, made by `config/compile`. */
export interface LimitOptions {
  readonly name: string;
  /** Globs on methods; undefined: tools/call, resources/read, prompts/get and completion/complete. */
  readonly on: readonly string[] | undefined;
  /** Globs on canonical ids `server/tool`. With several kinds of object named, any of them is enough. */
  readonly tool: readonly string[] | undefined;
  /** Globs on the URI. */
  readonly resource: readonly string[] | undefined;
  /** Globs on canonical ids `server/prompt`. */
  readonly prompt: readonly string[] | undefined;
  /** Globs on server names. */
  readonly server: readonly string[] | undefined;
  /** Globs on endpoint paths. */
  readonly endpoint: readonly string[] | undefined;
  readonly by: readonly LimitKey[];
  /** How many calls in a period. */
  readonly count: number;
  readonly periodMs: number;
  /** So many more at once. */
  readonly burst: number;
  /** Sentence of the operator, added to the refusal. */
  readonly message: string | undefined;
  readonly disclose: Disclosure;
}

/** How refusals are written on an endpoint; see `docs/refusals.md`. */
export type RefusalStyle = 'default' | 'http' | 'legacy-codes';
