/** What a generated file and a set of manifests have in common, before it becomes a configuration of Tollgate. */
import type { Environment } from '../expand.ts';
import type { KeyPath } from '../problems.ts';
import type { Cursor } from './cursor.ts';
import type { IncomingOidc } from './incoming-oidc.ts';
import type { LimitOwner } from './rate-limiting.ts';

/** A header that the gateway sends: its value, or the variable that has it. */
export interface HeaderValue {
  readonly name: string;
  readonly value: string;
  /** Undefined: the value stands in the file. */
  readonly variable: string | undefined;
  readonly from: KeyPath;
}

export interface Backend {
  readonly name: string;
  readonly url: string;
  readonly sse: boolean;
  readonly headers: readonly HeaderValue[];
  /** Milliseconds for a whole call; undefined: the default. */
  readonly timeout: number | undefined;
  readonly from: KeyPath;
}

/** Which tools of a server are seen, and under which names. */
export interface ToolView {
  /** Undefined: all. */
  readonly filter: readonly string[] | undefined;
  /** The server's own name to the name in its place. */
  readonly renamed: ReadonlyMap<string, { readonly name: string; readonly from: KeyPath }>;
}

export interface Aggregation {
  readonly naming: 'prefix' | 'priority' | 'manual' | 'bare';
  /** Servers in the order in which they claim names; others follow. */
  readonly order: readonly string[];
  readonly tools: ReadonlyMap<string, ToolView>;
  /** Servers without an entry in `tools` show nothing. */
  readonly denyUnlisted: boolean;
  readonly excludeAll: boolean;
  readonly from: KeyPath;
}

export interface Endpoint {
  readonly path: string;
  readonly servers: readonly string[];
  readonly aggregation: Aggregation;
}

export type IncomingAuth = 'anonymous' | 'local' | 'oidc';

export interface IncomingCallers {
  readonly type: IncomingAuth;
  readonly at: Cursor;
  /** Reads the provider of `oidc`, which stand-ins make needless; undefined after a mistake. */
  readonly oidc?: () => IncomingOidc | undefined;
}

export interface Model {
  readonly kind: 'VirtualMCPServer' | 'MCPServer';
  readonly namespace: string;
  readonly name: string;
  readonly from: KeyPath;
  readonly auth: IncomingCallers | undefined;
  readonly backends: readonly Backend[];
  readonly endpoints: readonly Endpoint[];
  /** Blocks of `rateLimiting` with their owners, in the order in which they are asked. */
  readonly limits: readonly { readonly block: Cursor; readonly owner: LimitOwner }[];
  /** The Redis of the limits, read and found sound; undefined: none is needed. */
  readonly storage: Cursor | undefined;
  /** Settings for Tollgate in `metadata` and annotations, by key without `tollgate/`. */
  readonly settings: ReadonlyMap<string, Cursor>;
}

export interface ReadOptions {
  readonly env: Environment;
}
