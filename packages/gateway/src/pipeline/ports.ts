/** The faces of a running gateway: what operators do with it, and the operations that other systems ask. */

import { formatPath, type Problem } from '../config/problems.ts';
import type { Clock } from '../core/clock.ts';
import { type Principal, readPrincipalId } from '../core/principal.ts';
import { VERSION } from '../core/version.ts';
import { configurationView } from './configuration-view.ts';
import type { Gateway } from './gateway.ts';
import { GatewayAdministration } from './gateway-administration.ts';
import { GatewayOperations } from './gateway-operations.ts';
import { KeyAdministration } from './key-administration.ts';
import { doubtOfBlocked, doubtOfPrincipal } from './name-doubts.ts';
import { principalsNamed } from './operations-clients.ts';
import { RestCalls } from './rest-calls.ts';
import type { GatewayState } from './state.ts';
import { userActivity } from './user-activity.ts';

export interface PortDeps {
  readonly clock: Clock;
  readonly state: GatewayState;
  readonly gateway: () => Gateway;
}

export function administrationOf({ clock, state, gateway }: PortDeps): GatewayAdministration {
  const { books, ledger } = state;
  return new GatewayAdministration({
    clock,
    books,
    ledger,
    acceptLoss: (by, reason) => state.acceptLoss(by, reason),
    admission: () => gateway().admission,
    tools: () => canonicalIds(gateway(), 'tools'),
    resources: () => canonicalIds(gateway(), 'resources'),
    prompts: () => canonicalIds(gateway(), 'prompts'),
    servers: () => [...gateway().generation.servers.keys()],
    endpoints: () => [...gateway().generation.endpoints.keys()],
    doubt: (id) => doubtOfPrincipal(id, gateway().generation.config.identity, books.tiers, state.keys),
    doubtOfBlocked: (who) => doubtOfBlocked(who, gateway().generation.config.identity, books.tiers, state.keys),
    tierUnknown: (id) => {
      const entry = readPrincipalId(id).person.split('/', 1)[0];
      const issuer = gateway().generation.config.identity.entries.find(({ name }) => name === entry);
      if (issuer?.kind !== 'jwt' && issuer?.kind !== 'oidc') return false;
      return issuer.rules.map.tier !== undefined && books.tiers.get(id) === undefined;
    },
    principal: (id) => {
      const [known] = principalsNamed(id, gateway().generation.config.identity, books.tiers, state.keys);
      return { tenant: known?.tenant, tier: known?.tier };
    },
  });
}

/** Of everything that some endpoint has, advertised or not. */
function canonicalIds({ generation }: Gateway, kind: 'tools' | 'resources' | 'prompts'): string[] {
  const ids = [...generation.endpoints.values()].flatMap(({ catalog }) => catalog[kind].map((one) => one.canonicalId));
  return [...new Set(ids)];
}

export function keyAdministrationOf({ clock, state, gateway }: PortDeps): KeyAdministration {
  const { keys, books } = state;
  return new KeyAdministration({ clock, keys, books, identity: () => gateway().generation.config.identity });
}

/** What the user API is served from. */
export function userPortOf({ clock, state, gateway }: PortDeps) {
  return {
    identify: (authorization: string | undefined, address: string | undefined) =>
      gateway().identify(authorization, '', address),
    guard: (principal: Principal) => gateway().guard?.(principal, undefined),
    calls: new RestCalls(gateway, clock),
    secrets: state.vault,
    activity: (principal: string, from: number, to: number) =>
      userActivity(state.decisions, state.store?.ledger, { principal, from, to }),
    maxBody: () => gateway().generation.config.inbound.caps.body,
    now: () => clock.wall(),
  };
}

/** `warnings`: of the configuration in force; those about secrets in plain text are findings of a scan. */
export function operationsOf(
  { clock, state, gateway }: PortDeps,
  administration: GatewayAdministration,
  warnings: () => readonly Problem[],
): GatewayOperations {
  return new GatewayOperations({
    clock,
    books: state.books,
    keys: state.keys,
    ledger: state.store?.ledger,
    config: () => gateway().generation.config,
    admission: () => gateway().admission,
    configuration: () => configurationView(gateway().generation, plainSecrets(warnings())),
    status: () => {
      const running = gateway();
      const { total, refused } = running.calls.statistics();
      return {
        problems: state.view().problems,
        version: VERSION,
        startedAt: running.startedAt.toISOString(),
        ready: running.ready,
        calls: { total, refused },
      };
    },
    reset: (principal, by, reason) => administration.resetAll(principal, by, reason),
  });
}

function plainSecrets(warnings: readonly Problem[]): string[] {
  return warnings.filter(({ what }) => what.includes('in plain text')).map(({ path }) => formatPath(path));
}
