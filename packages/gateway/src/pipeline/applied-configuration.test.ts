import { waitUntil } from '@tollgate/testkit/wait';
import { describe, expect, it } from 'vitest';
import type { CompiledConfig } from '../config/compile.ts';
import type { LoadedConfig } from '../config/load.ts';
import { systemClock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import { AppliedConfiguration } from './applied-configuration.ts';
import { transientVault, VaultEvents } from './vault-state.ts';

/** A configuration that is nothing but the value of its one secret. */
function loadedWith(value: string | undefined): LoadedConfig {
  return {
    config: value,
    source: { expansions: [] },
    secrets: { names: ['ci'], resolve: (values: ReadonlyMap<string, string>) => loadedWith(values.get('ci')) },
  } as unknown as LoadedConfig;
}

describe('a secret that was revoked', () => {
  it('by another gateway is out of force here also when the storage was away just then', async () => {
    const elsewhere: (() => void)[] = [];
    const vaultEvents = new VaultEvents(silentLog);
    vaultEvents.whenChangedElsewhere = (listener) => void elsewhere.push(listener);
    const vault = transientVault({ clock: systemClock, log: silentLog, onEvent: () => {} });
    const id = { owner: { kind: 'gateway' }, purpose: 'secret', name: 'ci' } as const;
    await vault.put(id, 'leaked-0123456789', { by: 'ci/op' });
    let [away, asked] = [false, 0];
    const faulty = new Proxy(vault, {
      get: (target, key) => {
        const member: unknown = Reflect.get(target, key);
        return (...all: unknown[]) => {
          if (!away) return (member as (...all: unknown[]) => unknown).apply(target, all);
          asked++;
          return Promise.reject(new TollgateError('storage_unavailable', 'Storage is not available'));
        };
      },
    });
    let inForce: unknown = 'leaked-0123456789';
    const applied = new AppliedConfiguration(loadedWith('leaked-0123456789'), {
      state: { vault: faulty, vaultEvents },
      log: silentLog,
      apply: async (config) => {
        inForce = config;
      },
      compile: ({ config }) => config as unknown as CompiledConfig,
      poll: 1,
    });
    await vault.revoke(id, 'ci/op', 'seen in a log');
    away = true;
    for (const listener of elsewhere) listener();
    await waitUntil('it was asked in vain, more than once', () => asked > 5);
    expect(inForce).toBe('leaked-0123456789');
    away = false;
    await waitUntil('the revocation', () => inForce === undefined);
    await applied.close();
    await vault.close();
  });
});
