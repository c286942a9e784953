/**
 * One upstream server: which connection a caller gets, when connections are opened, restarted and stopped, which
 * eras the server speaks, and what is wrong with it.
 */
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Principal } from '../core/principal.ts';
import { capabilitiesOf } from '../protocol/bridge/client-requests.ts';
import type { ClientSession } from '../protocol/call.ts';
import { encode } from '../protocol/json/splice.ts';
import type { Connection, Scope, Server, ServerEvent, ServerState, ServerView } from '../protocol/peer.ts';
import type { Era } from '../protocol/versions.ts';
import { resumption } from './backoff.ts';
import type { ClientIdentity } from './discover.ts';
import { Eras } from './eras.ts';
import { crowding, Instances, type Slot } from './instances.ts';
import { Listening } from './listen.ts';
import { WrongEra } from './negotiate.ts';
import type { ServerOptions } from './options.ts';
import { Restarts, SessionRestarts } from './restarts.ts';
import { StartFailures } from './start-failures.ts';
import type { Opened, Transport } from './transport.ts';
import { targetText } from './view.ts';
import { offersSubscriptions } from './watches.ts';

export interface UpstreamDeps {
  readonly log: Log;
  readonly clock: Clock;
  readonly clientInfo: ClientIdentity;
}

/** Declared to legacy servers where callers with different capabilities share a connection: all that can be bridged. */
const BRIDGED_CAPABILITIES = { roots: { listChanged: true }, sampling: {}, elicitation: { form: {}, url: {} } };
/** Sessions at a legacy HTTP server. They cost memory there and here, but no processes. */
const MAX_HTTP_SESSIONS = 10_000;

const IDLE = new TollgateError('server_unavailable', 'The connection was stopped because nobody used it');

export class UpstreamServer implements Server {
  readonly name: string;
  readonly requestTimeout: number;
  readonly #options: ServerOptions;
  readonly #transport: Transport;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #modern: Instances;
  readonly #legacy: Instances;
  readonly #listening: Listening;
  readonly #eras: Eras;
  readonly #restarts: Restarts;
  readonly #own: SessionRestarts;
  readonly #failures: StartFailures;
  readonly #listeners = new Set<(event: ServerEvent) => void>();
  readonly #sweeper: NodeJS.Timeout;
  #detecting: Promise<void> | undefined;
  #opening = 0;
  #version: string | undefined;
  #state: ServerState = 'idle';
  #stamp = 0;
  #closed = false;

  constructor(options: ServerOptions, transport: Transport, deps: UpstreamDeps) {
    this.name = options.name;
    this.requestTimeout = options.timeout.request;
    this.#options = options;
    this.#transport = transport;
    this.#log = deps.log;
    this.#clock = deps.clock;
    this.#eras = new Eras(options.protocol);
    // A process costs its start; a POST to a server that is back costs nothing.
    this.#restarts = new Restarts(deps.clock, options.target.kind === 'stdio' ? 60_000 : 5_000);
    this.#own = new SessionRestarts(deps.clock, this.#restarts.longest);
    this.#failures = new StartFailures({
      log: deps.log,
      ownSecrets: options.ownSecrets === true,
      eras: this.#eras,
      restarts: this.#restarts,
      own: this.#own,
      stderr: () => transport.stderr,
      live: () => this.#live(),
    });
    const http = options.target.kind === 'http';
    // A process or session holds the secrets that it was started with, so they decide who may use it.
    const separate = options.ownSecrets === true && (!http || options.instances.mode === 'shared');
    const mode = separate ? 'per-principal' : options.instances.mode;
    this.#modern = new Instances(mode === 'auto' || http ? 'shared' : mode);
    // A session over HTTP is cheap; a process for each set of capabilities would not be.
    this.#legacy = new Instances(mode === 'auto' ? 'per-session' : mode, http);
    this.#listening = new Listening({
      server: options.name,
      clientInfo: deps.clientInfo,
      log: deps.log,
      timeout: options.timeout.request,
      emit: (event) => this.#emit(event),
      connect: () => this.connect({ era: 'modern', principal: undefined, session: undefined, purpose: 'catalog' }),
    });
    this.#sweeper = setInterval(() => this.#sweep(), Math.min(30_000, Math.max(20, options.instances.idle / 4)));
    this.#sweeper.unref();
  }

  get view(): ServerView {
    let instances = 0;
    let pending = 0;
    for (const slot of this.#slots()) {
      if (slot.opened === undefined) continue;
      instances++;
      pending += slot.opened.connection.pending;
    }
    if (this.#transport.kind !== 'stdio') pending = Math.max(0, pending - this.#listening.streams);
    return {
      name: this.name,
      transport: this.#transport.kind,
      target: targetText(this.#options.target),
      state: this.#state,
      eras: this.#eras.spoken,
      version: this.#version,
      problem: this.#restarts.problem?.message,
      stderr: this.#transport.stderr,
      instances,
      pending,
    };
  }

  current(scope: Scope): Connection | undefined {
    const era = this.#eras.of(scope);
    if (era === undefined) return undefined;
    const slot = (era === 'modern' ? this.#modern : this.#legacy).find(scope);
    if (slot?.opened === undefined) return undefined;
    slot.used = true;
    slot.stamp = ++this.#stamp;
    return slot.opened.connection;
  }

  async connect(scope: Scope): Promise<Connection> {
    // Each turn learns something about the eras: at most "unknown", "not legacy after all", "not modern after all".
    for (let turn = 0; turn < 4; turn++) {
      this.#refuseIfOver(scope);
      const era = this.#eras.of(scope);
      try {
        if (era !== undefined) return await this.#connectIn(era, scope);
        if (this.#detecting === undefined) {
          this.#detecting = this.#detect(scope).finally(() => {
            this.#detecting = undefined;
          });
          await this.#detecting;
        } else {
          // What went wrong may be its caller's fault; where it is not, the next turn says so at once.
          await this.#detecting.catch(() => undefined);
        }
      } catch (error) {
        if (!(error instanceof WrongEra)) throw error;
      }
    }
    throw new TollgateError('server_unavailable', `Server "${this.name}" changes its protocol era all the time`);
  }

  account(principal: Principal): Promise<unknown> | undefined {
    return this.#transport.account?.(principal);
  }

  connectionsOf(session: ClientSession): readonly Connection[] {
    const found: Connection[] = [];
    for (const instances of [this.#legacy, this.#modern]) {
      const opened = instances.ofSession(session)?.opened;
      if (opened !== undefined) found.push(opened.connection);
    }
    return found;
  }

  async subscribe(uri: string, scope: Scope): Promise<() => void> {
    const connection = await this.connect(scope);
    if (connection.era === 'modern') return this.#listening.watch(uri);
    const slot = this.#legacy.find(scope);
    const subscriptions = slot?.opened?.subscriptions;
    if (slot === undefined || subscriptions === undefined || !offersSubscriptions(connection)) {
      throw new TollgateError('method_not_found', `Server "${this.name}" offers no resource subscriptions`);
    }
    return slot.watches.add(uri, subscriptions);
  }

  onEvent(listener: (event: ServerEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#sweeper);
    this.#listening.close();
    const reason = new TollgateError('shutting_down', `Server "${this.name}" is being stopped`);
    // The transport ends what is still being opened.
    await Promise.all([...[...this.#slots()].map((slot) => this.#drop(slot, reason)), this.#transport.close(reason)]);
    this.#settleState();
    this.#listeners.clear();
  }

  async #connectIn(era: Era, scope: Scope): Promise<Connection> {
    const slot = (era === 'modern' ? this.#modern : this.#legacy).obtain(scope);
    slot.used = true;
    slot.stamp = ++this.#stamp;
    if (slot.opened !== undefined) return slot.opened.connection;
    slot.opening ??= this.#fill(slot, era, scope.principal).finally(() => {
      slot.opening = undefined;
    });
    return slot.opening;
  }

  async #fill(slot: Slot, era: Era, asker: Principal | undefined): Promise<Connection> {
    try {
      const opened = await this.#open(slot, era, asker);
      if (slot.opened !== opened)
        throw this.#restarts.problem ?? new TollgateError('server_unavailable', 'The server stopped');
      this.#tieToSession(slot);
      return opened.connection;
    } catch (error) {
      // A slot that never opened holds nothing worth keeping, unless somebody waits for its subscriptions.
      if (slot.opened === undefined && slot.watches.size === 0) this.#instancesOf(era).remove(slot);
      throw error;
    }
  }

  #tieToSession(slot: Slot): void {
    const lifetime = slot.scope?.session?.lifetime;
    if (lifetime === undefined) return;
    slot.untie();
    if (lifetime.over) void this.#drop(slot, lifetime.reason ?? IDLE);
    else slot.untie = lifetime.onEnd((reason) => void this.#drop(slot, reason));
  }

  /** The first contact: the connection that finds out the era is then the one of its caller. */
  async #detect(scope: Scope): Promise<void> {
    // Which sharing applies is only known afterwards; the process is labelled as the legacy rules want it.
    const slot = this.#legacy.obtain(scope);
    try {
      const opened = await this.#open(slot, undefined, scope.principal);
      if (opened.connection.era === 'legacy') this.#tieToSession(slot);
    } finally {
      if (slot.opened === undefined && slot.watches.size === 0) this.#legacy.remove(slot);
    }
  }

  /** Opens a connection into the slot (or, found to be modern, into the slot of the modern rules). */
  async #open(slot: Slot, era: Era | undefined, asker: Principal | undefined): Promise<Opened> {
    this.#restarts.refuseTooEarly();
    if (slot.declaring !== undefined) this.#own.refuseTooEarly(slot.declaring);
    this.#opening++;
    this.#settleState();
    try {
      await this.#makeRoom(slot);
      return await this.#openInRoom(slot, era, asker);
    } finally {
      this.#opening--;
      this.#settleState();
    }
  }

  async #openInRoom(slot: Slot, era: Era | undefined, asker: Principal | undefined): Promise<Opened> {
    let target = slot;
    let opened: Opened | undefined;
    let death: TollgateError | undefined;
    try {
      opened = await this.#transport.open({
        era,
        scope: slot.scope,
        asker,
        capabilities: this.#capabilitiesFor(slot.scope),
        emit: (event) => this.#emit(event),
        onClosed: (error) => {
          if (opened === undefined) death = error;
          else this.#died(target, opened, error);
        },
      });
      if (death !== undefined) throw death;
      const spoken = opened.connection.era;
      if (era === undefined && spoken === 'modern') {
        target = this.#modern.obtain(slot.scope ?? SHARED_SCOPE);
      }
      if (this.#closed || target.removed) throw new TollgateError('shutting_down', 'Stopped while it was starting');
      this.#adopt(target, opened, era);
      return opened;
    } catch (error) {
      void opened?.close(TollgateError.from(error));
      throw this.#failures.judge(slot, era, error);
    }
  }

  #adopt(slot: Slot, opened: Opened, wished: Era | undefined): void {
    const { connection } = opened;
    slot.opened = opened;
    slot.openedAt = this.#clock.monotonic();
    slot.stamp = ++this.#stamp;
    slot.reopenings = 0;
    this.#eras.found(connection.era, wished === undefined);
    this.#restarts.connected();
    this.#version = connection.version;
    this.#log.info({ era: connection.era, version: connection.version }, 'Connected to the server');
    if (connection.era === 'modern') this.#listening.connected(connection);
    this.#rewatch(slot, opened);
  }

  /** After a restart, for those who still watch resources on this connection. */
  #rewatch(slot: Slot, { connection, subscriptions }: Opened): void {
    if (subscriptions === undefined || slot.watches.size === 0) return;
    slot.watches.renew(
      subscriptions,
      (uri) => {
        const message = encode({ jsonrpc: '2.0', method: 'notifications/resources/updated', params: { uri } });
        this.#emit({ type: 'resource_updated', uri, message, connection, scope: slot.scope });
      },
      (error) => this.#log.warn({ err: error }, 'A resource cannot be watched again'),
    );
  }

  #died(slot: Slot, opened: Opened, error: TollgateError): void {
    if (slot.opened !== opened) return;
    slot.suspend();
    this.#restarts.died(error, slot.scope === undefined, slot.openedAt);
    this.#log.warn({ reason: error.message }, 'The connection to the server is gone');
    const { connection } = opened;
    if (connection.era === 'modern') this.#listening.disconnected(connection);
    if (slot.watches.size > 0) this.#reopenLater(slot, connection.era);
    else this.#instancesOf(connection.era).remove(slot);
    this.#settleState();
  }

  /** Somebody watches resources on this connection: it must come back by itself. */
  #reopenLater(slot: Slot, era: Era): void {
    setTimeout(
      () => {
        if (this.#closed || slot.removed || slot.opened !== undefined || slot.watches.size === 0) return;
        slot.opening ??= this.#fill(slot, era, slot.scope?.principal).finally(() => {
          slot.opening = undefined;
        });
        slot.opening.catch(() => this.#reopenLater(slot, era));
      },
      resumption(slot.reopenings++, this.#restarts.longest),
    ).unref();
  }

  #refuseIfOver(scope: Scope): void {
    if (this.#closed) throw new TollgateError('shutting_down', `Server "${this.name}" is being stopped`);
    if (scope.session?.lifetime.over === true) throw new TollgateError('cancelled', 'The session has ended');
  }

  /** Where a connection has one client behind it, the server sees exactly what that client can do. */
  #capabilitiesFor(scope: Scope | undefined): Readonly<Record<string, unknown>> {
    if (scope?.session?.era === 'legacy') return scope.session.capabilities;
    if (scope !== undefined && this.#legacy.declares(scope)) return capabilitiesOf(scope.capabilitySet ?? 0);
    return BRIDGED_CAPABILITIES;
  }

  /** At most `max` instances: the least recently used idle one goes, else one of who crowds the others out. */
  async #makeRoom(asking: Slot): Promise<void> {
    const max = this.#options.target.kind === 'http' ? MAX_HTTP_SESSIONS : this.#options.instances.max;
    let open = this.#opening;
    let oldest: Slot | undefined;
    for (const slot of this.#slots()) {
      if (slot.opened === undefined) continue;
      open++;
      if (this.#disposable(slot) && (oldest === undefined || slot.stamp < oldest.stamp)) oldest = slot;
    }
    if (open <= max) return;
    const crowded = oldest === undefined ? crowding(this.#slots(), asking) : undefined;
    if (crowded !== undefined) {
      const closing = crowded.suspend()?.close(IDLE);
      this.#reopenLater(crowded, 'legacy');
      return closing;
    }
    if (oldest === undefined) {
      throw new TollgateError(
        'server_busy',
        `All ${max} instances of server "${this.name}" are in use. Raise servers.${this.name}.instances.max, or repeat later`,
      );
    }
    await this.#drop(oldest, IDLE);
  }

  #sweep(): void {
    const now = this.#clock.monotonic();
    for (const slot of [...this.#slots()]) {
      if (slot.used || !this.#disposable(slot)) {
        slot.used = false;
        slot.idleSince = now;
      } else if (this.#stopsWhenIdle(slot) && now - slot.idleSince >= this.#options.instances.idle) {
        this.#log.info({}, 'An idle connection is stopped');
        void this.#drop(slot, IDLE);
      }
    }
  }

  #disposable(slot: Slot): boolean {
    return slot.disposable && (slot.opened?.connection.era === 'legacy' || this.#listening.watched === 0);
  }

  #stopsWhenIdle(slot: Slot): boolean {
    const { scope } = slot;
    // The one shared process of a modern server is what `auto` means to keep; what is stateless costs nothing.
    if (slot.opened?.connection.era === 'modern') {
      return (
        this.#options.target.kind === 'stdio' &&
        (this.#options.ownSecrets === true || this.#options.instances.mode !== 'auto')
      );
    }
    // A session at an HTTP server ends with the client's session; the catalog's hears of list changes.
    return this.#options.target.kind === 'stdio' || (scope?.purpose === 'call' && scope.session?.era !== 'legacy');
  }

  /** Takes the slot out and ends its connection. */
  async #drop(slot: Slot, reason: TollgateError): Promise<void> {
    const { opened } = slot;
    slot.opened = undefined;
    this.#modern.remove(slot);
    this.#legacy.remove(slot);
    if (opened !== undefined) {
      if (opened.connection.era === 'modern') this.#listening.disconnected(opened.connection);
      this.#settleState();
      try {
        await opened.close(reason);
      } catch (error) {
        this.#log.warn({ err: error }, 'A connection did not end cleanly');
      }
    }
  }

  #instancesOf(era: Era): Instances {
    return era === 'modern' ? this.#modern : this.#legacy;
  }

  *#slots(): Generator<Slot> {
    yield* this.#modern.all();
    yield* this.#legacy.all();
  }

  #live(): boolean {
    for (const slot of this.#slots()) if (slot.opened !== undefined) return true;
    return false;
  }

  #settleState(): void {
    let state: ServerState;
    if (this.#closed) state = 'stopped';
    else if (this.#live()) state = 'ready';
    else if (this.#opening > 0) state = 'starting';
    else if (this.#restarts.problem === undefined) state = 'idle';
    else state = this.#restarts.problem.code === 'server_login_required' ? 'login_required' : 'failed';
    if (state === this.#state) return;
    this.#state = state;
    this.#emit({ type: 'state', state });
  }

  #emit(event: ServerEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        this.#log.error({ err: error, event: event.type }, 'A listener of server events failed');
      }
    }
  }
}

const SHARED_SCOPE: Scope = { era: 'modern', principal: undefined, session: undefined, purpose: 'call' };
