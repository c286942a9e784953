import { createAdmission } from '../admission/admission.ts';
import type { Admission } from '../admission/contract.ts';
import { Listings } from '../catalog/listing.ts';
import type { CompiledConfig } from '../config/compile.ts';
import { formatListen } from '../config/units.ts';
import { systemClock } from '../core/clock.ts';
import { IMPLEMENTATION } from '../core/version.ts';
import { addressPrefix } from '../identity/address.ts';
import { PrincipalKeys } from '../identity/principals.ts';
import { ParkedCalls } from '../protocol/bridge/modern-to-legacy.ts';
import { CallLog } from '../telemetry/calls.ts';
import { createCredentials } from '../upstream/auth/credentials.ts';
import { createServer } from '../upstream/servers.ts';
import { AccessRefusals } from './access-refusals.ts';
import type { GatewayBridge } from './bridge.ts';
import type { GatewayDeps } from './gateway-deps.ts';
import type { Generation, Lasting } from './generation.ts';
import { Rounds } from './rounds.ts';
import { subjectTokens } from './subject-tokens.ts';
import { SubscriptionHub } from './subscriptions.ts';
import { TaskOwners } from './task-owners.ts';
import { Trust } from './trust.ts';
import { createUserAccounts } from './user-accounts.ts';

/** Declared when lists are read: some servers show tools only to clients that can serve what they ask for. */
const BRIDGED_CAPABILITIES = { roots: {}, sampling: {}, elicitation: { form: {}, url: {} } };

/** The gateway that it is made for; asked only after that is built. */
interface Owner {
  /** Base URL where it listens; undefined before that. */
  readonly url: () => string | undefined;
  readonly generation: () => Generation;
  readonly bridge: () => GatewayBridge;
}

/** Makes what outlives the configurations of one gateway. */
export function createLasting(config: CompiledConfig, deps: GatewayDeps, owner: Owner): Lasting {
  const { log, state } = deps;
  const clock = deps.clock ?? systemClock;
  const secrets = deps.secrets ?? state?.vault;
  const source = deps.secretSource ?? state?.secrets;
  const scheme = config.inbound.tls === undefined ? 'http' : 'https';
  const url = () => owner.url() ?? `${scheme}://${formatListen(config.listen)}`;
  const trust = state?.trust ?? new Trust({ clock, log, storage: undefined, shared: false });
  const limits = {
    current: nextAdmission(config, deps, undefined),
    touch: state?.touch ?? (() => undefined),
  };
  return {
    clock,
    log,
    keys: new PrincipalKeys(),
    url,
    issued: state?.keys,
    authMethods: (entry) => [...(deps.authMethods?.(entry) ?? []), ...owner.bridge().methods(entry)],
    calls: new CallLog({ clock }),
    transforms: deps.transforms,
    hub: new SubscriptionHub(log),
    parked: new ParkedCalls(clock),
    limits,
    rounds: new Rounds(clock, state?.roundKey),
    users:
      secrets === undefined
        ? undefined
        : createUserAccounts({
            secrets,
            clock,
            log,
            servers: () => owner.generation().config.servers,
            base: () => owner.generation().config.publicUrl ?? url(),
            key: state?.roundKey,
            proof: () => owner.bridge().proof,
          }),
    decisions: state?.decisions,
    refusals: new AccessRefusals({ decisions: state?.decisions, clock, tiers: () => limits.current.tiers }),
    trust,
    listings: new Listings({
      client: { info: IMPLEMENTATION, capabilities: BRIDGED_CAPABILITIES },
      clock,
      log,
      trust: trust.ofServer,
    }),
    tasks: new TaskOwners(() => owner.generation().servers),
    createServer: (options) =>
      createServer(options, {
        log,
        clock,
        credentials: (http) => createCredentials(http, { secrets, clock, subjects: subjectTokens(secrets) }),
        ...(source === undefined ? {} : { secrets: source }),
      }),
  };
}

/** The limits of a configuration, with the counters of those before. */
export function nextAdmission(
  config: CompiledConfig,
  { log, clock = systemClock, state }: GatewayDeps,
  previous: Admission | undefined,
): Admission {
  return createAdmission(config.admission, {
    ...(state?.admission() ?? { clock, log }),
    addressPrefix,
    ...(previous === undefined ? {} : { previous }),
  });
}
