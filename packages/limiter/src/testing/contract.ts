import { afterAll, describe } from 'vitest';
import { holdBehaviours } from './contract-holds.ts';
import { peerBehaviours } from './contract-peers.ts';
import { properties } from './contract-properties.ts';
import { ruleBehaviours } from './contract-rules.ts';
import { type ContractOptions, FULL, type Given, Stand, type Subject } from './stand.ts';

/**
 * The contract of `Limiter` as tests, for every implementation alike: what its docstrings say, what other limiters are
 * tested for, and properties of random programs against the exact model. Call it at the top of a test file.
 * `make` gives a limiter with nothing used; its clock moves only by `advance`. Full counts under TOLLGATE_PROOF=full.
 */
export function limiterContract(name: string, make: () => Promise<Subject>, options: ContractOptions = {}): void {
  let names = 0;
  const withSubject = async (test: (stand: Stand) => Promise<void>) => {
    const subject = await make();
    try {
      await test(new Stand(subject));
    } finally {
      await subject.close();
    }
  };
  let shared: Subject | undefined;
  const given: Given = {
    name,
    options,
    with: withSubject,
    async each(test) {
      if (options.reuse !== true) return withSubject((stand) => test(stand, ''));
      shared ??= await make();
      return test(new Stand(shared), `run ${++names} `);
    },
    runs: (usual) => Math.max(1, Math.round(usual * (options.effort ?? 1) * (FULL ? 10 : 1))),
  };
  describe(name, () => {
    ruleBehaviours(given);
    holdBehaviours(given);
    peerBehaviours(given);
    properties(given);
    afterAll(async () => shared?.close());
  });
}
