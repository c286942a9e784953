/** What to do with a definition that nobody has approved. */
export type TrustPolicy = 'allow' | 'warn' | 'block';

export interface ServerTrust {
  /** One that was never seen before. */
  readonly new: TrustPolicy;
  /** One that differs from what was approved, or comes from another program or address. */
  readonly changed: TrustPolicy;
}

export interface TrustOptions extends ServerTrust {
  /** By server; those that are not here have the policy above. */
  readonly servers: ReadonlyMap<string, ServerTrust>;
}

export function policyOf(options: TrustOptions, server: string): ServerTrust {
  return options.servers.get(server) ?? options;
}
