/** What the limiter needs of a Redis client. `@redis/client` fits through the functions below; nothing else is used. */
export interface RedisPort {
  /** True: keys are spread over nodes, so that one script can only touch one tenant. */
  readonly cluster: boolean;
  /**
   * Sends a command to the node that keeps `key`. Rejects with the server's error, and at once while there is no
   * connection: a command that waits for one would charge for a call that was answered long ago.
   */
  send(key: string, args: readonly string[]): Promise<unknown>;
  /** The same command to every node that takes writes. */
  sendAll(args: readonly string[]): Promise<readonly unknown[]>;
}

interface CommandOptions {
  readonly timeout?: number;
}

/** `createClient({ url, disableOfflineQueue: true })` of `@redis/client`. */
export interface SingleClient {
  sendCommand(args: readonly string[], options?: CommandOptions): Promise<unknown>;
}

/** `createSentinel({ …, nodeClientOptions: { disableOfflineQueue: true } })` of `@redis/client`. */
export interface SentinelClient {
  sendCommand(isReadonly: boolean | undefined, args: string[], options?: CommandOptions): Promise<unknown>;
}

/** `createCluster({ …, defaults: { disableOfflineQueue: true } })` of `@redis/client`. */
export interface ClusterClient {
  sendCommand(
    firstKey: string | undefined,
    isReadonly: boolean | undefined,
    args: string[],
    options?: CommandOptions,
  ): Promise<unknown>;
  readonly masters: readonly unknown[];
  nodeClient(node: never): Promise<SingleClient>;
}

/** The limiter keeps a deadline for all commands together; the client's own costs a timer and a signal for each. */
const OPTIONS: CommandOptions = { timeout: 0 };

export function standalone(client: SingleClient): RedisPort {
  return {
    cluster: false,
    send: (_key, args) => client.sendCommand(args, OPTIONS),
    sendAll: async (args) => [await client.sendCommand(args, OPTIONS)],
  };
}

export function sentinel(client: SentinelClient): RedisPort {
  const send = (args: readonly string[]) => client.sendCommand(false, args as string[], OPTIONS);
  return { cluster: false, send: (_key, args) => send(args), sendAll: async (args) => [await send(args)] };
}

export function cluster(client: ClusterClient): RedisPort {
  return {
    cluster: true,
    send: (key, args) => client.sendCommand(key, false, args as string[], OPTIONS),
    sendAll: (args) =>
      Promise.all(
        client.masters.map(async (node) => (await client.nodeClient(node as never)).sendCommand(args, OPTIONS)),
      ),
  };
}
