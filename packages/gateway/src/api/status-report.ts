import type { ServerView } from '../protocol/peer.ts';

/** What `tollgate status` and the start-up print show. No secrets. */
export interface StatusReport {
  readonly version: string;
  readonly pid: number;
  /** ISO time of the start. */
  readonly startedAt: string;
  readonly configuration: string;
  /** Number of the applied configuration, from 1; a reload adds 1. */
  readonly generation: number;
  /** Why the last reload was refused, or undefined. */
  readonly reloadProblem: string | undefined;
  readonly ready: boolean;
  readonly url: string;
  readonly endpoints: readonly EndpointReport[];
  readonly servers: readonly ServerReport[];
  /** One sentence each: what is enforced. Empty: nothing is. */
  readonly limits: readonly string[];
  readonly sessions: number;
  readonly streams: number;
  readonly parked: number;
  readonly calls: {
    readonly total: number;
    readonly successful: number;
    readonly failed: number;
    readonly refused: number;
  };
}

export interface EndpointReport {
  readonly path: string;
  readonly url: string;
  readonly servers: readonly string[];
  readonly tools: number;
  readonly prompts: number;
  readonly resources: number;
  /** Size of the tool definitions in tokens (bytes / 4). */
  readonly tokens: number;
}

export interface ServerReport extends ServerView {
  readonly tools: number;
  readonly prompts: number;
  readonly resources: number;
  readonly tokens: number;
}
