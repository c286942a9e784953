/**
 * The running gateway: the current generation behind its edges, reload by swap, and an orderly end. The command line
 * and the library are two ways to hold one of these.
 */

import { isDeepStrictEqual } from 'node:util';
import { blockedError } from '../access/blocks.ts';
import { createAdmission } from '../admission/admission.ts';
import type { Admission } from '../admission/contract.ts';
import { type SessionGuardOptions, SessionWindows, sessionGuard } from '../admission/session-guard.ts';
import { Listings } from '../catalog/listing.ts';
import { type CompiledConfig, restartOnlyChanges } from '../config/compile.ts';
import { formatListen, isLoopback } from '../config/units.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import type { Egress } from '../core/egress.ts';
import { TollgateError } from '../core/errors.ts';
import { newDecisionId } from '../core/ids.ts';
import type { Log } from '../core/log.ts';
import type { Principal } from '../core/principal.ts';
import type { Secrets } from '../core/secrets.ts';
import { IMPLEMENTATION } from '../core/version.ts';
import { addressPrefix } from '../identity/address.ts';
import type { CallerSlot } from '../identity/identity.ts';
import type { AuthMethod } from '../identity/method.ts';
import type { AuthEntry } from '../identity/options.ts';
import { localPrincipal, PrincipalKeys } from '../identity/principals.ts';
import type { Mount } from '../inbound/beside.ts';
import type { OpenCalls } from '../inbound/edge.ts';
import { createHttpEdge, type HttpEdge, type HttpEdgeView } from '../inbound/http.ts';
import type { InboundOptions } from '../inbound/options.ts';
import { createStdioEdge, type StdioEdge } from '../inbound/stdio.ts';
import { ParkedCalls } from '../protocol/bridge/modern-to-legacy.ts';
import type { Endpoint, Face, Identified, SessionGuard } from '../protocol/call.ts';
import type { Server } from '../protocol/peer.ts';
import { CallLog } from '../telemetry/calls.ts';
import type { TransformRegistry } from '../transform/registry.ts';
import { createCredentials } from '../upstream/auth/credentials.ts';
import type { SecretSource } from '../upstream/secret-texts.ts';
import { createServer } from '../upstream/servers.ts';
import { AccessRefusals } from './access-refusals.ts';
import { GatewayBridge } from './bridge.ts';
import { announceDifference, buildGeneration, type Generation, type Lasting, retired } from './generation.ts';
import { Rounds } from './rounds.ts';
import { checkKeyFile, userName } from './same-user.ts';
import type { GatewayState, StateView } from './state.ts';
import { subjectTokens } from './subject-tokens.ts';
import { SubscriptionHub } from './subscriptions.ts';
import { TaskOwners } from './task-owners.ts';
import { Trust } from './trust.ts';
import { createUserAccounts } from './user-accounts.ts';

export type { Mount } from '../inbound/beside.ts';

export interface GatewayDeps {
  readonly log: Log;
  /** Default: the system's. */
  readonly clock?: Clock;
  /** The vault. Default: that of `state`. */
  readonly secrets?: Secrets;
  /** What `${vault:x}` in headers and environments stands for. Default: that of `state`. */
  readonly secretSource?: SecretSource;
  /** For documents that strangers name, such as those of clients. Default: what reaches public addresses only. */
  readonly egress?: Egress;
  /** Paths beside the endpoints: the control API. Without them the address of `admin` is not opened. */
  readonly mount?: Mount;
  /** Paths beside the endpoints on their own address: the user API, metadata, pages. */
  readonly publicMount?: Mount;
  /** Counters, money, tiers and stops that outlive this gateway; its owner closes it. Default: all of it in memory. */
  readonly state?: GatewayState;
  /**
   * Ways to be recognised that are made outside the identity room, by auth entry: keys of the store, tokens of the
   * bridge. The same entry gets the same methods on every reload; their owner closes them.
   */
  readonly authMethods?: ((entry: AuthEntry) => readonly AuthMethod[]) | undefined;
  /** Transformers, composed anew whenever a configuration is applied. Default none. */
  readonly transforms?: TransformRegistry;
  /** Another certificate has come into use. */
  readonly onCertificate?: () => void;
  /** Number of attached stdio clients, whenever it changes. */
  readonly onClients?: (count: number) => void;
}

export interface Listening {
  /** Base URL of the endpoints. */
  readonly url: string;
  /** Base URL of the control API. */
  readonly control: string;
}

/** Declared when lists are read: some servers show tools only to clients that can serve what they ask for. */
const BRIDGED_CAPABILITIES = { roots: {}, sampling: {}, elicitation: { form: {}, url: {} } };
/** Milliseconds that servers taken out by a reload keep for the calls they still have. */
const RETIRE_MS = 30_000;

export class Gateway implements Face {
  readonly calls: CallLog;
  readonly hub: SubscriptionHub;
  readonly parked: ParkedCalls;
  /** Which definitions of servers are approved, and what they offer beside. */
  readonly trust: Trust;
  readonly startedAt = new Date();
  /** Signs people in for clients that their provider does not know; without `bridge` in the configuration it serves nothing. */
  readonly bridge: GatewayBridge;
  #current: Generation;
  readonly #lasting: Lasting;
  readonly #deps: GatewayDeps;
  readonly #http: HttpEdge;
  readonly #admin: HttpEdge | undefined;
  #stdio: StdioEdge | undefined;
  readonly #follow = new Map<Server, () => void>();
  #guard: SessionGuard | undefined;
  #withdrawals = 0;
  #listening: Listening | undefined;
  #draining = false;
  #ready = false;
  #applying: Promise<unknown> = Promise.resolve();

  /** Builds everything and starts reading the servers' lists; nothing listens yet. Throws `config_invalid`. */
  constructor(config: CompiledConfig, deps: GatewayDeps) {
    const { log } = deps;
    const clock = deps.clock ?? systemClock;
    this.#deps = deps;
    const secrets = deps.secrets ?? deps.state?.vault;
    const source = deps.secretSource ?? deps.state?.secrets;
    const users =
      secrets === undefined
        ? undefined
        : createUserAccounts({
            secrets,
            clock,
            log,
            servers: () => this.#current.config.servers,
            base: () => this.#current.config.publicUrl ?? this.#lasting.url(),
            key: deps.state?.roundKey,
            proof: () => this.bridge.proof,
          });
    this.calls = new CallLog({ clock });
    this.hub = new SubscriptionHub(log);
    this.parked = new ParkedCalls(clock);
    const keys = new PrincipalKeys();
    this.trust = deps.state?.trust ?? new Trust({ clock, log, storage: undefined, shared: false });
    this.#lasting = {
      clock,
      log,
      keys,
      url: () =>
        this.#listening?.url ??
        `${config.inbound.tls === undefined ? 'http' : 'https'}://${formatListen(config.listen)}`,
      issued: deps.state?.keys,
      authMethods: (entry) => [...(deps.authMethods?.(entry) ?? []), ...this.bridge.methods(entry)],
      calls: this.calls,
      transforms: deps.transforms,
      hub: this.hub,
      parked: this.parked,
      limits: {
        current: createAdmission(config.admission, {
          ...(deps.state?.admission() ?? { clock, log }),
          addressPrefix,
        }),
        touch: deps.state?.touch ?? (() => undefined),
      },
      rounds: new Rounds(clock, deps.state?.roundKey),
      users,
      decisions: deps.state?.decisions,
      refusals: new AccessRefusals({
        decisions: deps.state?.decisions,
        clock,
        tiers: () => this.#lasting.limits.current.tiers,
      }),
      trust: this.trust,
      listings: new Listings({
        client: { info: IMPLEMENTATION, capabilities: BRIDGED_CAPABILITIES },
        clock,
        log,
        trust: this.trust.ofServer,
      }),
      tasks: new TaskOwners(() => this.#current.servers),
      createServer: (options) =>
        createServer(options, {
          log,
          clock,
          credentials: (http) => createCredentials(http, { secrets, clock, subjects: subjectTokens(secrets) }),
          ...(source === undefined ? {} : { secrets: source }),
        }),
    };
    this.bridge = new GatewayBridge({
      clock,
      log,
      keys,
      records: deps.state?.store?.bridge,
      shared: deps.state?.shared === true,
      secrets,
      key: deps.state?.roundKey,
      egress: deps.egress,
      generation: () => this.#current,
      onEnd: () => this.#revoke(),
    });
    this.#current = buildGeneration(config, this.#lasting, undefined);
    this.#adopt(this.#current);
    deps.state?.keys.whenWithdrawn(() => this.#revoke());
    this.#guard = this.#makeGuard(config.admission.sessionGuard);
    if (deps.state !== undefined) deps.state.refusedCallers = () => this.calls.callers.counts;
    if (deps.state !== undefined) deps.state.books.onBlocked = () => this.#revoke();
    const face = (): Face => this;
    const shared = sameAddress(config.listen, config.admin);
    const edge = { log, clock, ready: () => this.ready, onCertificate: deps.onCertificate };
    const mount = deps.mount === undefined ? {} : { mount: deps.mount };
    // For everybody, on the address of the endpoints.
    const open: Mount = (...asked) =>
      // Before the bridge: they share the address to which identity providers send browsers.
      users?.accounts.handle(asked[0], asked[1], asked[2]) === true ||
      this.bridge.mount(...asked) ||
      deps.publicMount?.(...asked) === true;
    const all: Mount = (...asked) => open(...asked) || deps.mount?.(...asked) === true;
    this.#http = createHttpEdge(config.inbound, face, { ...edge, mount: shared ? all : open });
    this.#admin =
      shared || deps.mount === undefined
        ? undefined
        : createHttpEdge(adminOptions(config), () => NO_ENDPOINTS, {
            ...edge,
            ...mount,
          });
    const { attachSocket } = config.inbound;
    this.#stdio = attachSocket === undefined ? undefined : this.#stdioEdge(attachSocket);
  }

  get generation(): Generation {
    return this.#current;
  }

  /** Where it listens; undefined before `listen`. */
  get listening(): Listening | undefined {
    return this.#listening;
  }

  /** SHA-256 of the public key with which the control API is served, base64; undefined without TLS. */
  get controlPin(): string | undefined {
    return (this.#admin ?? this.#http).pin;
  }

  /** The limits in force. */
  get admission(): Admission {
    return this.#lasting.limits.current;
  }

  /** What it keeps, for `status`; undefined: everything is in memory and ends with this process. */
  get state(): StateView | undefined {
    return this.#deps.state?.view();
  }

  get view(): HttpEdgeView & { readonly stdioClients: number } {
    return { ...this.#http.view, stdioClients: this.#stdio?.clientCount ?? 0 };
  }

  /** True when every server was tried once: listed, failed, or out of time. */
  get ready(): boolean {
    this.#ready ||= [...this.#current.endpoints.values()].every(({ catalog }) => catalog.ready);
    return this.#ready && !this.#draining;
  }

  // Face: what the edges ask.
  get draining(): boolean {
    return this.#draining;
  }

  get guard(): SessionGuard | undefined {
    return this.#guard;
  }

  get withdrawals(): number {
    return this.#withdrawals;
  }

  endpoint(path: string): Endpoint | undefined {
    return this.#current.endpoints.get(path)?.chain;
  }

  identify(
    authorization: string | undefined,
    endpoint: string,
    address: string | undefined,
    slot?: CallerSlot,
  ): Identified | Promise<Identified> {
    const { identity } = this.#current;
    const who = identity.identify(authorization, endpoint, address, slot);
    if (!(who instanceof Promise)) return this.#admitted(who, authorization !== undefined, endpoint, address);
    // A configuration that was replaced meanwhile says nothing about who may come in now.
    return who.then((late) =>
      identity === this.#current.identity
        ? this.#admitted(late, authorization !== undefined, endpoint, address)
        : this.identify(authorization, endpoint, address, slot),
    );
  }

  metadata(path: string): string | undefined {
    return this.#current.resources.document(path);
  }

  /** Calls that are open on the client-facing address; handlers mounted there enter their own. */
  get openCalls(): OpenCalls {
    return this.#http.calls;
  }

  barred(principal: Principal, endpoint = '', address?: string): TollgateError | undefined {
    const blocks = this.#deps.state?.books.blocks;
    if (blocks?.any !== true) return undefined;
    const block = blocks.of(principal, this.#lasting.clock.wall());
    if (block === undefined) return undefined;
    const id = newDecisionId();
    this.#lasting.refusals.ofCaller(id, { by: 'block', block }, principal, endpoint);
    const at = { endpoint, address, principal: principal.id, decisionId: id };
    return this.calls.callers.refused(blockedError(block, id), true, at);
  }

  #admitted(who: Identified, sent: boolean, endpoint: string, address: string | undefined): Identified {
    if (TollgateError.is(who)) return this.calls.callers.refused(who, sent, { endpoint, address });
    return this.barred(who, endpoint, address) ?? who;
  }

  /** Opens the listeners. Rejects with `listen_failed`; then nothing is left open. */
  async listen(): Promise<Listening> {
    try {
      await this.#begin();
      const { url } = await this.#http.listen();
      const control = this.#admin === undefined ? url : (await this.#admin.listen()).url;
      this.#listening = { url, control };
      // Last: who can attach takes the gateway for started, and would be cut off when a port turned out to be taken.
      await this.#stdio?.listen();
      return this.#listening;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Opens only this attach socket and no port: for one client, on the pipes of this process. */
  async listenStdio(attachSocket: string): Promise<void> {
    await this.#begin();
    this.#stdio = this.#stdioEdge(attachSocket);
    await this.#stdio.listen();
  }

  /** Resolves when every server was tried once, bounded by the list timeouts. */
  async settled(): Promise<void> {
    await Promise.all([...this.#current.endpoints.values()].map(({ catalog }) => catalog.settled()));
  }

  /**
   * Swaps in another configuration: built and read before the swap, so that no call meets a half-made one; calls that
   * run keep what they started with. Rejects with `config_invalid` and keeps the old one.
   */
  apply(config: CompiledConfig): Promise<void> {
    const run = this.#applying.then(() => this.#apply(config));
    this.#applying = run.catch(() => undefined);
    return run;
  }

  /**
   * Ends in order: not ready, no new calls, listen streams get their result, running calls finish within the
   * deadline, servers stop. True when every call finished by itself.
   */
  async drain(deadlineMs: number): Promise<boolean> {
    this.#draining = true;
    const started = performance.now();
    await Promise.all([this.#http.drain(deadlineMs), this.#stdio?.drain(deadlineMs)]);
    const inTime = performance.now() - started < deadlineMs;
    await this.close();
    return inTime;
  }

  /** Ends at once. Open calls get `shutting_down`. */
  async close(): Promise<void> {
    this.#draining = true;
    this.parked.close(new TollgateError('shutting_down', 'The gateway is shutting down'));
    this.admission.close();
    await Promise.all([this.#http.close(), this.#admin?.close(), this.#stdio?.close()]);
    for (const stop of this.#follow.values()) stop();
    for (const { catalog } of this.#current.endpoints.values()) catalog.close();
    this.#current.identity.close();
    this.bridge.close();
    await Promise.all([...this.#current.servers.values()].map((server) => server.close()));
  }

  async #apply(config: CompiledConfig): Promise<void> {
    const before = this.#current;
    const fixed = restartOnlyChanges(before.config, config);
    if (fixed.length > 0) {
      throw new TollgateError(
        'config_invalid',
        `${fixed.join(', ')} cannot change while the gateway runs. Restart it, or put the old value back.`,
      );
    }
    const certificates = await this.#certificates(config);
    checkKeyFile(config, this.#lasting.log);
    const next = buildGeneration(config, this.#lasting, before);
    // A changed server that is dead does not hold up the others: the wait is bounded by the list timeout.
    await Promise.all([...next.endpoints.values()].map(({ catalog }) => catalog.settled()));
    const { limits, clock, log } = this.#lasting;
    const { state } = this.#deps;
    limits.current = createAdmission(config.admission, {
      ...(state?.admission() ?? { clock, log }),
      addressPrefix,
      previous: limits.current,
    });
    state?.adopt(config);
    this.trust.configure(config.trust);
    if (!isDeepStrictEqual(before.config.admission.sessionGuard, config.admission.sessionGuard)) {
      this.#guard = this.#makeGuard(config.admission.sessionGuard);
    }
    this.#current = next;
    this.#adopt(next);
    const sameRules = isDeepStrictEqual(before.config.access, config.access);
    this.#http.reconfigure(config.inbound);
    this.#admin?.reconfigure(adminOptions(config));
    for (const use of certificates) use();
    this.#stdio?.reconfigure(config.inbound);
    for (const [path, { catalog }] of before.endpoints) {
      announceDifference(path, catalog, next.endpoints.get(path), this.hub, !sameRules);
      catalog.close();
    }
    for (const server of retired(before, next)) this.#retire(server);
    before.identity.close(next.identity);
    this.#revoke();
    await this.hub.rebind();
  }

  /** The certificates of a configuration, read and checked; each of the functions puts one into use. */
  #certificates(config: CompiledConfig): Promise<(() => void)[]> {
    const edges = this.#admin === undefined ? [this.#http] : [this.#http, this.#admin];
    return Promise.all(edges.map((edge) => edge.loadCertificate(config.inbound)));
  }

  /** Ends what is open for callers that would not be let in any more. */
  #revoke(): void {
    this.#withdrawals++;
    const { identity } = this.#current;
    this.hub.revoke((principal, endpoint) =>
      identity.recognises(principal, endpoint)
        ? this.barred(principal, endpoint)
        : new TollgateError('unauthorized', 'The credential was withdrawn', { executed: 'unknown' }),
    );
  }

  /** Before the first call: what the state lost is rebuilt for the limits that are in force. */
  async #begin(): Promise<void> {
    await this.#deps.state?.begin(this.#current.config, () => this.admission);
  }

  #makeGuard(options: SessionGuardOptions | undefined): SessionGuard | undefined {
    const { clock } = this.#lasting;
    if (options === undefined) return undefined;
    const windows = new SessionWindows(options);
    const { state } = this.#deps;
    if (state !== undefined) state.guardDenials = () => windows.denials;
    return sessionGuard(windows, () => clock.monotonic());
  }

  #stdioEdge(attachSocket: string): StdioEdge {
    const { log, onClients } = this.#deps;
    const { keys, clock } = this.#lasting;
    const options = { ...this.#current.config.inbound, attachSocket };
    const principal = localPrincipal(keys, userName());
    return createStdioEdge(options, () => this, { log, clock, principal, onClients });
  }

  #adopt(generation: Generation): void {
    for (const server of generation.servers.values()) {
      if (this.#follow.has(server)) continue;
      this.#follow.set(
        server,
        server.onEvent((event) => this.hub.serverEvent(server, event)),
      );
    }
    this.hub.bindAll([...generation.endpoints].map(([path, { chain }]) => [path, chain]));
  }

  /** Stops a server when its calls are done, at the latest after a while. */
  #retire(server: Server): void {
    this.#follow.get(server)?.();
    this.#follow.delete(server);
    const until = performance.now() + RETIRE_MS;
    const poll = setInterval(() => {
      if (server.view.pending > 0 && performance.now() < until) return;
      clearInterval(poll);
      server.close().catch((error: unknown) => {
        this.#deps.log.warn({ err: error, server: server.name }, 'a removed server did not stop cleanly');
      });
    }, 100);
    poll.unref();
  }
}

/** The admin surfaces speak TLS where they leave the machine; on loopback a certificate for its names would be needed. */
function adminOptions({ inbound, admin }: CompiledConfig): InboundOptions {
  const tls = isLoopback(admin.host) ? undefined : inbound.tls;
  return { ...inbound, ...admin, tls, attachSocket: undefined };
}

const NO_ENDPOINTS: Face = {
  endpoint: () => undefined,
  identify: () => new TollgateError('unauthorized', 'No endpoint is served here'),
  guard: undefined,
  barred: () => undefined,
  withdrawals: 0,
  draining: false,
};

function sameAddress(a: { host: string; port: number }, b: { host: string; port: number }): boolean {
  return a.host === b.host && a.port === b.port;
}
