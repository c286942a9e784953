/**
 * The whole way of a request. Transport checks, identity and the strict parse are behind us when a Call arrives:
 *
 *   classify → route and access → admit → request transform → dispatch → response transform → settle → respond
 *
 * Everything that can refuse comes before anything that has an effect, and every path ends in `complete` or `fail`.
 */

import { scopesOf } from '../access/scopes.ts';
import type { Admission } from '../admission/contract.ts';
import type { Decision, Verdict } from '../admission/decision.ts';
import type { Target as LimitTarget } from '../admission/limits.ts';
import type { RefusalStyle } from '../admission/options.ts';
import { refuseCall } from '../admission/refusal.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { Clock } from '../core/clock.ts';
import { beforeSending, TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Principal } from '../core/principal.ts';
import type { ParkedCalls } from '../protocol/bridge/modern-to-legacy.ts';
import type { Destination } from '../protocol/bridge/outcome.ts';
import type { Call, Challenge, ClientSession, Endpoint, ResponseHead } from '../protocol/call.ts';
import { bearerChallenge } from '../protocol/challenge.ts';
import { resultBytes } from '../protocol/json/splice.ts';
import { Field, type Message } from '../protocol/message.ts';
import type { ListKind, Server } from '../protocol/peer.ts';
import type { CallLog } from '../telemetry/calls.ts';
import type { DecisionLog } from '../telemetry/decisions/log.ts';
import type { TransformChain, TransformChains } from '../transform/registry.ts';
import type { AccessRefusals } from './access-refusals.ts';
import { accountFor } from './account-gate.ts';
import { checkArguments } from './argument-check.ts';
import { completionTarget } from './completions.ts';
import { Flight, type FlightControl } from './flight.ts';
import { isHandshake, isList, type LocalParts, localMethod } from './local-methods.ts';
import { QUOTA_TOOL, QuotaTool } from './quota-tool.ts';
import { Rounds } from './rounds.ts';
import type { Subscribable, SubscriptionHub } from './subscriptions.ts';
import { destinationOf, mirroredDestination, type Target, type TargetResolver } from './targets.ts';
import type { TaskOwners } from './task-owners.ts';
import { transformRequest, transformResponse } from './transforms.ts';
import type { UserAccounts } from './user-accounts.ts';

/** Counters move from the old rules to the new at one moment; asking an old rule after that would miscount. */
export interface LimitsInForce {
  current: Admission;
  /** Counters changed in this turn. */
  readonly touch: () => void;
}

export interface EndpointParts {
  readonly path: string;
  readonly catalog: Catalog;
  readonly servers: ReadonlyMap<string, Server>;
  readonly targets: TargetResolver;
  /** Scope that the endpoint itself needs. */
  readonly scope: string | undefined;
  /** URL of its protected resource metadata; undefined: no authorization server makes tokens for it. */
  readonly resourceMetadata: () => string | undefined;
  /** The limits in force, shared by all generations: a reload changes them for calls that are on their way, too. */
  readonly limits: LimitsInForce;
  readonly refusals: RefusalStyle;
  readonly parked: ParkedCalls;
  readonly rounds: Rounds;
  /** Undefined: there is no vault to keep accounts of callers in. */
  readonly users: UserAccounts | undefined;
  readonly decisions: DecisionLog | undefined;
  /** Records of what access refused. */
  readonly accessRefusals: AccessRefusals;
  readonly hub: SubscriptionHub;
  readonly tasks: TaskOwners;
  readonly calls: CallLog;
  readonly transforms: TransformChains;
  readonly clock: Clock;
  readonly log: Log;
}

export class EndpointChain implements Endpoint, FlightControl, Subscribable {
  readonly path: string;
  readonly parked: ParkedCalls;
  readonly #parts: EndpointParts;
  readonly #local: LocalParts;
  readonly #quota: QuotaTool;
  /** The one server of an endpoint, to which methods of extensions may go. */
  readonly #only: Server | undefined;
  /** What limits see of methods without an object. */
  readonly #untargeted: LimitTarget;

  constructor(parts: EndpointParts) {
    this.path = parts.path;
    this.parked = parts.parked;
    this.#parts = parts;
    this.#only = parts.servers.size === 1 ? parts.servers.values().next().value : undefined;
    this.#untargeted = { kind: 'none', canonicalId: undefined, server: undefined, endpoint: parts.path };
    this.#quota = new QuotaTool(parts.targets);
    this.#local = {
      catalog: parts.catalog,
      targets: parts.targets,
      quota: this.#quota,
      limits: parts.limits,
      hub: parts.hub,
      setLogLevel: (call, level) => this.#setLogLevel(call, level),
    };
  }

  handle(call: Call): void {
    try {
      if (this.#parts.catalog.ready || localMethod(call) !== undefined) this.#classify(call);
      else this.#afterStart(call);
    } catch (error) {
      this.fail(call, TollgateError.from(error));
    }
  }

  notified(message: Message, session: ClientSession | undefined, _principal: Principal): void {
    if (message.method !== 'notifications/roots/list_changed' || session === undefined) return;
    for (const server of this.#parts.servers.values()) {
      for (const connection of server.connectionsOf(session)) connection.notify(message.method, undefined);
    }
  }

  challenge(): Challenge {
    return { metadata: this.#parts.resourceMetadata(), scope: this.#parts.scope };
  }

  // Subscribable
  get lists(): readonly ListKind[] {
    const capabilities = this.#parts.catalog.capabilities('modern');
    return (['tools', 'prompts', 'resources'] as const).filter((kind) => capabilities[kind] !== undefined);
  }

  serverOf(uri: string, principal: Principal): Server | undefined {
    return this.#parts.targets.serverOf(uri, principal);
  }

  /** The tools that `tools/list` shows to this caller, once every server was tried. */
  async toolsFor(principal: Principal): Promise<Target[]> {
    await this.#parts.catalog.settled();
    return this.#parts.targets.tools(principal);
  }

  /** Where a call of this tool would go. Rejects with what would refuse it, whatever its arguments. */
  async toolNamed(name: string, principal: Principal): Promise<Target> {
    await this.#parts.catalog.settled();
    return this.#parts.targets.tool(name, principal);
  }

  // FlightControl
  fail(call: Call, error: TollgateError): void {
    const told = error.code === 'account_required' ? this.#parts.users?.questions.answer(call, error) : undefined;
    if (Buffer.isBuffer(told)) {
      this.#finish(call, error.executed, undefined);
      this.#parts.calls.failed(call, error);
      call.lifetime.release();
      call.reply.respond(told);
      return;
    }
    this.#parts.accessRefusals.ofCall(call, error);
    const wire = refuseCall(told ?? error, call, this.#parts.refusals);
    if (error.code === 'internal') {
      this.#parts.log.error(
        { err: error.cause, method: call.method, id: call.decisionId },
        'a call failed unexpectedly',
      );
    }
    if (error.code === 'insufficient_scope') {
      const challenge = { error: error.code, scope: scopesOf(error), metadata: this.#parts.resourceMetadata() };
      wire.headers.push(['www-authenticate', bearerChallenge(challenge)]);
    }
    this.#finish(call, error.executed, undefined);
    this.#parts.calls.failed(call, error);
    call.lifetime.release();
    call.reply.respond(wire.body, wire);
  }

  complete(call: Call, answer: Message, head: ResponseHead | undefined): void {
    const chain = this.#parts.transforms.response;
    let response = answer;
    if (chain !== undefined && call.method === 'tools/call') {
      try {
        response = transformResponse(call, answer, chain);
      } catch (error) {
        this.fail(call, TollgateError.from(error));
        return;
      }
    }
    call.lifetime.release();
    if (response.has(Field.resultType)) this.#parts.tasks.remember(call, response);
    if (call.charge !== undefined && Rounds.asks(call, response)) response = this.#park(call, response);
    // The server's own answer: what a transformer made of it does not change the price.
    else this.#finish(call, 'yes', answer);
    this.#parts.calls.answered(call, response);
    call.reply.respond(response, head);
  }

  /** Ends a round and not the call: its money stays held for the client's next round. */
  #park(call: Call, answer: Message): Message {
    const { ttl } = this.#parts.parked.options;
    const hold = this.#parts.limits.current.park(call, ttl, this.#parts.clock.monotonic());
    return hold === undefined ? answer : this.#parts.rounds.seal(call, answer, { hold, round: call.round }, ttl);
  }

  #finish(call: Call, executed: 'no' | 'yes' | 'unknown', answer: Message | undefined): void {
    if (call.charge === undefined) return;
    this.#parts.limits.current.finish(call, { executed, answer }, this.#parts.clock.monotonic());
    this.#parts.limits.touch();
  }

  async reheader(call: Call): Promise<Destination | undefined> {
    if (call.method !== 'tools/call' || call.server === undefined) return undefined;
    const name = call.message.string(Field.name) ?? '';
    const before = this.#parts.catalog.tool(name);
    await this.#parts.catalog.refresh(call.server);
    const after = this.#parts.catalog.tool(name);
    if (after === undefined || after === before) return undefined;
    return mirroredDestination(call, this.#parts.targets.tool(name, call.principal));
  }

  /** A call that comes before every server was tried once waits for that, bounded by the list timeout. */
  #afterStart(call: Call): void {
    this.#parts.catalog.settled().then(() => {
      if (call.lifetime.over) this.#left(call);
      else this.handle(call);
    }, noop);
  }

  /** Where changed definitions are blocked: a call does not overtake the change that its server has announced. */
  #recheck(call: Call, kind: 'tools' | 'prompts', name: string): boolean {
    const { catalog, targets } = this.#parts;
    const read = targets.knows(kind, name, call.principal) ? catalog.recheck(kind, name) : undefined;
    read?.then(
      () => {
        if (call.lifetime.over) this.#left(call);
        else this.#try(call, () => this.#classify(call, true));
      },
      (error: unknown) => this.fail(call, beforeSending(TollgateError.from(error))),
    );
    return read !== undefined;
  }

  #try(call: Call, proceed: () => void): void {
    try {
      proceed();
    } catch (error) {
      this.fail(call, TollgateError.from(error));
    }
  }

  #classify(call: Call, rechecked = false): void {
    const { targets } = this.#parts;
    const { message, principal } = call;
    switch (message.method) {
      case 'tools/call': {
        const name = required(message, Field.name);
        if (name === QUOTA_TOOL && this.#tellQuota(call)) return;
        if (!rechecked && this.#recheck(call, 'tools', name)) return;
        this.#admit(call, targets.tool(name, principal));
        return;
      }
      case 'prompts/get': {
        const name = required(message, Field.name);
        if (!rechecked && this.#recheck(call, 'prompts', name)) return;
        this.#admit(call, targets.prompt(name, principal));
        return;
      }
      case 'resources/read':
        this.#admit(call, targets.resource(required(message, Field.uri), principal));
        return;
      case 'completion/complete':
        this.#admit(call, completionTarget(call, this.#parts.catalog, targets), PASS_THROUGH);
        return;
      default:
        this.#other(call);
    }
  }

  /** False: no limit applies here, so the tool does not exist. */
  #tellQuota(call: Call): boolean {
    const limits = this.#parts.limits.current;
    if (!this.#quota.listed(limits, call.principal)) return false;
    this.#quota.report(limits, call, this.#parts.clock.monotonic()).then(
      (result) => {
        call.lifetime.release();
        this.#parts.calls.answered(call, undefined);
        call.reply.respond(resultBytes(call.message.raw(Field.id) ?? 'null', result));
      },
      (error: unknown) => this.fail(call, TollgateError.from(error)),
    );
    return true;
  }

  #other(call: Call): void {
    const local = localMethod(call);
    if (local !== undefined) {
      // An empty list would say that there is nothing; the challenge says which token shows it (MCP, scope challenges).
      if (!isHandshake(call.method)) this.#parts.targets.checkEndpoint(call.principal);
      // Lists that the gateway answers itself are never refused: an agent without its tools cannot even wait.
      if (isList(call.method)) this.#answer(call, local);
      else this.#whenAdmitted(call, undefined, () => this.#answer(call, local));
      return;
    }
    const owner = this.#parts.tasks.serverOf(call);
    const server = owner ?? this.#extensionServer(call);
    if (server === undefined) {
      this.fail(call, new TollgateError('method_not_found', `Method not found: ${call.method}`));
      return;
    }
    // A task was given to this very caller; any other method without a name could be about all that the server has.
    if (owner !== undefined) this.#parts.targets.checkEndpoint(call.principal);
    else this.#parts.targets.checkWhole(server.name, call.method, call.principal);
    call.server = server.name;
    this.#whenAdmitted(call, undefined, () => {
      this.#startClock(call, server.requestTimeout);
      new Flight(call, PASS_THROUGH, this).start(server);
    });
  }

  /**
   * Methods that the gateway does not know pass only where nothing needs to be merged: an endpoint with one server
   * that declared an extension, both sides modern (MCP 2026-07-28: unknown methods only when both ends declared them).
   */
  #extensionServer(call: Call): Server | undefined {
    if (this.#only === undefined || call.era !== 'modern') return undefined;
    return this.#parts.catalog.capabilities('modern')['extensions'] === undefined ? undefined : this.#only;
  }

  #answer(call: Call, local: NonNullable<ReturnType<typeof localMethod>>): void {
    const answer = (result: string | undefined): void => {
      if (result === undefined) return;
      this.#finish(call, 'yes', undefined);
      call.lifetime.release();
      this.#parts.calls.answered(call, undefined);
      call.reply.respond(resultBytes(call.message.raw(Field.id) ?? 'null', result));
    };
    const result = local(call, this.#local);
    if (typeof result === 'string') answer(result);
    else result?.then(answer, (error: unknown) => this.fail(call, TollgateError.from(error)));
  }

  #admit(call: Call, target: Target, destination: Destination = destinationOf(call, target)): void {
    call.canonicalId = target.canonicalId;
    call.server = target.server;
    if (call.method !== 'completion/complete') this.#parts.targets.checkCall(target, call);
    if (target.validate) checkArguments(target.entry, call.message.raw(Field.arguments));
    const account = accountFor(call, target.upstream, target.timeout, this.#parts.users);
    if (account === undefined) this.#send(call, target, destination);
    else {
      account
        .then(() => (call.lifetime.over ? this.#left(call) : this.#send(call, target, destination)))
        .catch((error: unknown) => this.fail(call, beforeSending(TollgateError.from(error))));
    }
  }

  #send(call: Call, target: Target, destination: Destination): void {
    const chain = call.method === 'tools/call' ? this.#parts.transforms.request : undefined;
    this.#whenAdmitted(call, target, () => {
      const place = chain === undefined ? destination : this.#transform(call, target, chain);
      if (place === undefined) return;
      this.#startClock(call, target.timeout);
      new Flight(call, place, this).start(target.upstream);
    });
  }

  /** Runs the request transformers; undefined when one refused, which has ended the call. */
  #transform(call: Call, target: Target, chain: TransformChain): Destination | undefined {
    try {
      transformRequest(call, chain);
      return mirroredDestination(call, target);
    } catch (error) {
      this.fail(call, TollgateError.from(error));
      return undefined;
    }
  }

  #whenAdmitted(call: Call, target: Target | undefined, proceed: () => void): void {
    const { limits, rounds } = this.#parts;
    const round = call.message.has(Field.requestState) ? rounds.open(call) : undefined;
    let verdict: Verdict | Promise<Verdict>;
    if (round === undefined || target === undefined) {
      verdict = limits.current.admit(call, target ?? this.#untargeted, call.startedAt);
    } else {
      call.round = round.round;
      verdict = limits.current.resume(call, target, round.hold, call.startedAt);
    }
    if (verdict instanceof Promise) {
      verdict.then(
        (decided) => {
          try {
            this.#decided(call, decided, proceed);
          } catch (error) {
            // `handle` has returned long ago: nobody else would answer, or give back what was taken.
            this.fail(call, TollgateError.from(error));
          }
        },
        (error: unknown) => this.fail(call, beforeSending(TollgateError.from(error))),
      );
    } else {
      this.#decided(call, verdict, proceed);
    }
  }

  /** Anything but an explicit yes is a no. */
  #decided(call: Call, verdict: Verdict | undefined, proceed: () => void): void {
    this.#parts.limits.touch();
    this.#parts.decisions?.attach(call);
    if (verdict?.allowed === true) {
      call.charge = verdict.charge;
      if (call.lifetime.over) this.#left(call);
      else proceed();
    } else if (verdict === undefined) {
      this.fail(call, new TollgateError('internal', 'Internal error', { cause: new Error('no verdict') }));
    } else {
      this.#refuse(call, verdict.decision);
    }
  }

  /** A caller that left while its turn or the journal was awaited has run nothing. */
  #left(call: Call): void {
    this.fail(call, beforeSending(call.lifetime.reason ?? new TollgateError('cancelled', 'Cancelled')));
  }

  #refuse(call: Call, decision: Decision): void {
    const wire = refuseCall(decision, call, this.#parts.refusals);
    this.#parts.calls.refused(call, decision);
    call.lifetime.release();
    call.reply.respond(wire.body, wire);
  }

  #startClock(call: Call, ms: number): void {
    call.lifetime.deadline(
      ms,
      () =>
        new TollgateError('deadline_exceeded', `${call.server ?? 'The server'} did not answer in ${ms / 1000} s`, {
          executed: 'unknown',
        }),
    );
  }

  #setLogLevel(call: Call, level: string): void {
    const session = call.session;
    if (session === undefined) return;
    session.logLevel = level;
    for (const server of this.#parts.servers.values()) {
      for (const connection of server.connectionsOf(session)) connection.setLogLevel?.(level);
    }
  }
}

const PASS_THROUGH: Destination = { target: undefined, headerName: undefined, paramHeaders: undefined };

function required(message: Message, field: typeof Field.name | typeof Field.uri): string {
  const value = message.string(field);
  if (value !== undefined) return value;
  throw new TollgateError(
    'invalid_params',
    `${message.method} needs params.${field === Field.name ? 'name' : 'uri'}, a string`,
  );
}

function noop(): void {}
