import type { Storage } from './storage.ts';

/**
 * `list`: a write whose one argument is a list and whose answer is a list of the same length, so that neighbours in
 * the queue become one statement. The others are written together in one transaction.
 */
export type MethodKind = 'read' | 'write' | 'list';

type Methods = { readonly [R in keyof Storage]: { readonly [M in keyof Storage[R]]: MethodKind } };

/** Every method of every repository: what may be asked for across threads, and how it is carried out. */
export const METHODS: Methods = {
  ledger: {
    open: 'list',
    settle: 'list',
    release: 'list',
    expire: 'list',
    renew: 'list',
    entry: 'read',
    spent: 'read',
    openHolds: 'read',
    usage: 'read',
    counters: 'read',
  },
  tiers: { tier: 'read', setTier: 'write', allTiers: 'read' },
  grants: { add: 'write', active: 'read', revoke: 'write' },
  stops: { add: 'write', active: 'read', lift: 'write' },
  keys: { add: 'write', revoke: 'write', get: 'read', list: 'read', version: 'read', used: 'list' },
  blocks: { add: 'write', active: 'read', lift: 'write' },
  decisions: { put: 'list', get: 'read', list: 'read' },
  settings: { get: 'read', set: 'write', once: 'write', remove: 'write', ledgerId: 'write' },
  actions: { append: 'write', list: 'read' },
  bridge: {
    register: 'write',
    client: 'read',
    clientUsed: 'write',
    put: 'write',
    find: 'read',
    use: 'write',
    end: 'write',
    families: 'read',
    version: 'read',
    ended: 'read',
    prune: 'write',
  },
  vault: {
    keys: 'read',
    addKey: 'write',
    moveKey: 'write',
    read: 'read',
    put: 'write',
    close: 'write',
    list: 'read',
    used: 'write',
    notUnder: 'read',
    underEach: 'read',
    rewrap: 'list',
    lease: 'write',
    release: 'write',
  },
  pins: { add: 'write', approve: 'write', definition: 'read', all: 'read' },
};

export interface Work {
  readonly repository: keyof Storage;
  readonly method: string;
  readonly args: readonly unknown[];
}

export function kindOf({ repository, method }: Work): MethodKind {
  return (METHODS[repository] as Readonly<Record<string, MethodKind>>)[method]!;
}

/** Carries `work` out on `storage`. */
export function perform(storage: Storage, { repository, method, args }: Work): Promise<unknown> {
  const target = storage[repository] as unknown as Readonly<
    Record<string, (...args: readonly unknown[]) => Promise<unknown>>
  >;
  return target[method]!(...args);
}

/** A storage whose every method goes through `ask`. */
export function storageOver(ask: (work: Work) => Promise<unknown>): Storage {
  const repositories = Object.entries(METHODS).map(([repository, methods]) => [
    repository,
    Object.fromEntries(
      Object.keys(methods).map((method) => [
        method,
        (...args: readonly unknown[]) => ask({ repository: repository as keyof Storage, method, args }),
      ]),
    ),
  ]);
  return Object.fromEntries(repositories) as Storage;
}
