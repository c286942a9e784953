/**
 * Storage of before the ids of principals had their tenant: what was counted and granted under the person's name alone is
 * nobody's now who has a tenant. Told once, at the first start with such a storage; nothing is given to a guess.
 */
import { TierBook } from '../admission/tiers.ts';
import type { Log } from '../core/log.ts';
import { idInTenant } from '../core/principal.ts';
import type { IdentityOptions } from '../identity/options.ts';
import type { Ledger, Settings } from '../store/storage.ts';
import type { Books } from './books.ts';
import { doubtOfPrincipal } from './name-doubts.ts';
import type { KeyHolders } from './operations-clients.ts';

const SETTING = 'principal_ids';
/** Names in one line of the log; the rest is a number. */
const MAX_NAMED = 20;

interface RenamedDeps {
  readonly store: { readonly settings: Settings; readonly ledger: Ledger };
  readonly books: Pick<Books, 'tiers' | 'grants'>;
  readonly keys: KeyHolders;
  readonly identity: IdentityOptions;
  readonly wall: number;
  readonly log: Log;
}

/** Never rejects: a storage that is away is asked at the next start. */
export async function tellRenamedCallers({ store, books, keys, identity, wall, log }: RenamedDeps): Promise<void> {
  try {
    if ((await store.settings.get(SETTING)) !== undefined) return;
    const spent = await store.ledger.usage({ from: 0, to: Math.floor(wall) + 1, groupBy: ['principal', 'tenant'] });
    const renamed = new Set<string>();
    for (const { group } of spent) {
      const { principal, tenant } = group;
      if (typeof principal !== 'string' || typeof tenant !== 'string') continue;
      const id = idInTenant(principal, tenant);
      if (id !== principal) renamed.add(`${principal} of ${tenant} is ${id}`);
    }
    if (renamed.size > 0) {
      const callers = [...renamed].slice(0, MAX_NAMED);
      log.warn(
        { callers, count: renamed.size },
        'callers with a tenant have it in their id now: their budgets begin anew',
      );
    }
    const granted = books.grants.list(wall).flatMap(({ principal }) => principal ?? []);
    const names = new Set([...granted, ...[...books.tiers.entries()].map(([name]) => name)]);
    // A stored tier makes its name known; here is asked whether anybody comes by it.
    const none = new TierBook();
    const doubted = [...names].filter((name) => doubtOfPrincipal(name, identity, none, keys) !== undefined);
    if (doubted.length > 0) {
      const callers = doubted.slice(0, MAX_NAMED);
      log.warn(
        { callers, count: doubted.length },
        'stored tiers or grants are under names that no caller with a tenant has: make them again under its id',
      );
    }
    await store.settings.set(SETTING, 'tenant');
  } catch {
    // What needs the storage says that it is away.
  }
}
