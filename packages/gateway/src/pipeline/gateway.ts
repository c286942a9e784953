/**
 * The running gateway: the current generation behind its edges, reload by swap, and an orderly end. The command line
 * and the library are two ways to hold one of these.
 */

import { isDeepStrictEqual } from 'node:util';
import { blockedError } from '../access/blocks.ts';
import type { Admission } from '../admission/contract.ts';
import { type SessionGuardOptions, SessionWindows, sessionGuard } from '../admission/session-guard.ts';
import { type CompiledConfig, restartOnlyChanges } from '../config/compile.ts';
import { TollgateError } from '../core/errors.ts';
import { newDecisionId } from '../core/ids.ts';
import type { Principal } from '../core/principal.ts';
import type { CallerSlot } from '../identity/identity.ts';
import type { Mount } from '../inbound/beside.ts';
import type { OpenCalls } from '../inbound/edge.ts';
import type { ParkedCalls } from '../protocol/bridge/modern-to-legacy.ts';
import type { Endpoint, Face, Identified, SessionGuard } from '../protocol/call.ts';
import type { CallLog } from '../telemetry/calls.ts';
import { GatewayBridge } from './bridge.ts';
import { Edges, type Listening } from './edges.ts';
import type { GatewayDeps } from './gateway-deps.ts';
import { announceDifference, buildGeneration, discard, type Generation, type Lasting, retired } from './generation.ts';
import { createLasting, nextAdmission } from './lasting.ts';
import { LiveServers } from './live-servers.ts';
import { checkKeyFile } from './same-user.ts';
import type { StateView } from './state.ts';
import type { SubscriptionHub } from './subscriptions.ts';
import type { Trust } from './trust.ts';

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
  readonly #edges: Edges;
  readonly #servers: LiveServers;
  #guard: SessionGuard | undefined;
  #withdrawals = 0;
  #listening: Listening | undefined;
  #draining = false;
  #closed = false;
  readonly #over = Promise.withResolvers<void>();
  #ready = false;
  #applying: Promise<unknown> = Promise.resolve();

  /** Builds everything and starts reading the servers' lists; nothing listens yet. Throws `config_invalid`. */
  constructor(config: CompiledConfig, deps: GatewayDeps) {
    const { log } = deps;
    this.#deps = deps;
    this.#lasting = createLasting(config, deps, {
      url: () => this.#listening?.url,
      generation: () => this.#current,
      bridge: () => this.bridge,
    });
    const { clock, keys, users, calls, hub, parked, trust } = this.#lasting;
    this.calls = calls;
    this.hub = hub;
    this.parked = parked;
    this.trust = trust;
    this.#servers = new LiveServers(hub, log);
    this.bridge = new GatewayBridge({
      clock,
      log,
      keys,
      records: deps.state?.store?.bridge,
      shared: deps.state?.shared === true,
      secrets: deps.secrets ?? deps.state?.vault,
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
    // For everybody, on the address of the endpoints.
    const open: Mount = (...asked) =>
      // Before the bridge: they share the address to which identity providers send browsers.
      users?.accounts.handle(asked[0], asked[1], asked[2]) === true ||
      this.bridge.mount(...asked) ||
      deps.publicMount?.(...asked) === true;
    const { mount: control, onCertificate, onClients } = deps;
    const ready = (): boolean => this.ready;
    this.#edges = new Edges(config, this, { log, clock, keys, ready, open, control, onCertificate, onClients });
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
    return this.#edges.controlPin;
  }

  /** The limits in force. */
  get admission(): Admission {
    return this.#lasting.limits.current;
  }

  /** What it keeps, for `status`; undefined: everything is in memory and ends with this process. */
  get state(): StateView | undefined {
    return this.#deps.state?.view();
  }

  get view(): Edges['view'] {
    return this.#edges.view;
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
    return this.#edges.openCalls;
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

  /** Opens the listeners. Rejects with `listen_failed`, or when it is closed meanwhile; then nothing is left open. */
  async listen(): Promise<Listening> {
    try {
      await this.#begin();
      this.#listening = await this.#edges.listen();
      this.#checkOpen();
      // Last: who can attach takes the gateway for started, and would be cut off when a port turned out to be taken.
      await this.#edges.attach();
      this.#checkOpen();
      return this.#listening;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Opens only this attach socket and no port: for one client, on the pipes of this process. */
  async listenStdio(attachSocket: string): Promise<void> {
    try {
      await this.#begin();
      await this.#edges.attach(attachSocket);
      this.#checkOpen();
    } catch (error) {
      await this.close();
      throw error;
    }
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
    await this.#edges.drain(deadlineMs);
    const inTime = performance.now() - started < deadlineMs;
    await this.close();
    return inTime;
  }

  /** Ends at once. Open calls get `shutting_down`. */
  async close(): Promise<void> {
    this.#draining = true;
    this.#closed = true;
    this.#over.resolve();
    this.parked.close(new TollgateError('shutting_down', 'The gateway is shutting down'));
    this.admission.close();
    await this.#edges.close();
    const leaving = this.#servers.close();
    for (const { catalog } of this.#current.endpoints.values()) catalog.close();
    this.#current.identity.close();
    this.bridge.close();
    await Promise.all([leaving, ...[...this.#current.servers.values()].map((server) => server.close())]);
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
    const certificates = await this.#edges.certificates(config);
    checkKeyFile(config, this.#lasting.log);
    this.#checkOpen();
    const next = buildGeneration(config, this.#lasting, before);
    try {
      // A changed server that is dead does not hold up the others: the wait is bounded by the list timeout.
      const settled = Promise.all([...next.endpoints.values()].map(({ catalog }) => catalog.settled()));
      await Promise.race([settled, this.#over.promise]);
      this.#checkOpen();
    } catch (error) {
      await discard(next, before);
      throw error;
    }
    const { limits } = this.#lasting;
    limits.current = nextAdmission(config, this.#deps, limits.current);
    this.#deps.state?.adopt(config);
    this.trust.configure(config.trust);
    if (!isDeepStrictEqual(before.config.admission.sessionGuard, config.admission.sessionGuard)) {
      this.#guard = this.#makeGuard(config.admission.sessionGuard);
    }
    this.#current = next;
    this.#adopt(next);
    const sameRules = isDeepStrictEqual(before.config.access, config.access);
    this.#edges.reconfigure(config);
    for (const use of certificates) use();
    for (const [path, { catalog }] of before.endpoints) {
      announceDifference(path, catalog, next.endpoints.get(path), this.hub, !sameRules);
      catalog.close();
    }
    for (const server of retired(before, next)) this.#servers.retire(server);
    before.identity.close(next.identity);
    this.#revoke();
    await this.hub.rebind();
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
    this.#checkOpen();
  }

  /** Whoever was waiting while it was closed must not open anything any more: nobody would close it. */
  #checkOpen(): void {
    if (this.#closed) throw new TollgateError('shutting_down', 'The gateway is shutting down');
  }

  #makeGuard(options: SessionGuardOptions | undefined): SessionGuard | undefined {
    const { clock } = this.#lasting;
    if (options === undefined) return undefined;
    const windows = new SessionWindows(options);
    const { state } = this.#deps;
    if (state !== undefined) state.guardDenials = () => windows.denials;
    return sessionGuard(windows, () => clock.monotonic());
  }

  #adopt({ servers, endpoints }: Generation): void {
    this.#servers.adopt(servers.values());
    this.hub.bindAll([...endpoints].map(([path, { chain }]) => [path, chain]));
  }
}
