import { actionsOn } from './actions.ts';
import { blocksOn } from './blocks.ts';
import { bridgeOn } from './bridge.ts';
import { type DecisionRetention, decisionsOn } from './decisions.ts';
import { grantsOn } from './grants.ts';
import { keysOn } from './keys.ts';
import { ledgerOn } from './ledger.ts';
import { pinsOn } from './pins.ts';
import type { Session } from './schema.ts';
import { settingsOn } from './settings.ts';
import { stopsOn } from './stops.ts';
import type { Storage } from './storage.ts';
import { tiersOn } from './tiers.ts';
import { vaultOn } from './vault.ts';

/** All repositories on one connection or transaction. */
export function repositoriesOn(session: Session, retention: DecisionRetention): Storage {
  return {
    ledger: ledgerOn(session),
    tiers: tiersOn(session),
    grants: grantsOn(session),
    stops: stopsOn(session),
    blocks: blocksOn(session),
    keys: keysOn(session),
    decisions: decisionsOn(session, retention),
    settings: settingsOn(session),
    actions: actionsOn(session),
    bridge: bridgeOn(session),
    vault: vaultOn(session),
    pins: pinsOn(session),
  };
}
