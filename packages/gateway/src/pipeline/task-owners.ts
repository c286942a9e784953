/**
 * Which server made which task, and for whom (tasks extension of MCP 2026-07-28): later requests about a task go to
 * that server, and only for the caller it was given to. To anybody else the task does not exist.
 */
import { TollgateError } from '../core/errors.ts';
import type { Call } from '../protocol/call.ts';
import { Field, type Message } from '../protocol/message.ts';
import type { Server } from '../protocol/peer.ts';

const METHODS: ReadonlySet<string> = new Set(['tasks/get', 'tasks/update', 'tasks/cancel']);
/** Tasks remembered, in all and of one caller; the oldest give way, those of a caller to its own first. */
const MAX_TASKS = 10_000;
const MAX_OF_CALLER = 1_000;
/** Characters of an id; a task with a longer one cannot be asked about. */
const MAX_ID = 1_024;

interface Owner {
  readonly server: string;
  readonly principal: number;
  readonly endpoint: string;
}

export class TaskOwners {
  readonly #owners = new Map<string, Owner>();
  /** Ids of each caller's tasks, oldest first. */
  readonly #byCaller = new Map<number, Set<string>>();
  readonly #servers: () => ReadonlyMap<string, Server>;

  constructor(servers: () => ReadonlyMap<string, Server>) {
    this.#servers = servers;
  }

  /** Looks at an answer that carries a `resultType`; remembers the task when it is one. */
  remember(call: Call, response: Message): void {
    if (call.server === undefined || response.string(Field.resultType) !== 'task') return;
    const result = response.json(Field.result) as { taskId?: unknown };
    // A hostile server that repeats another's id must not take its task over.
    const { taskId } = result;
    if (typeof taskId !== 'string' || taskId.length > MAX_ID || this.#owners.has(taskId)) return;
    const caller = call.principal.key;
    if ((this.#byCaller.get(caller)?.size ?? 0) >= MAX_OF_CALLER) this.#forgetOldest(this.#byCaller.get(caller)!);
    if (this.#owners.size >= MAX_TASKS) this.#forgetOldest(this.#owners);
    this.#owners.set(taskId, { server: call.server, principal: caller, endpoint: call.endpoint });
    const mine = this.#byCaller.get(caller);
    if (mine === undefined) this.#byCaller.set(caller, new Set([taskId]));
    else mine.add(taskId);
  }

  #forgetOldest(ids: { keys(): Iterator<string> }): void {
    const oldest = ids.keys().next();
    if (oldest.done === true) return;
    const caller = this.#owners.get(oldest.value)?.principal ?? 0;
    this.#owners.delete(oldest.value);
    const left = this.#byCaller.get(caller);
    left?.delete(oldest.value);
    if (left?.size === 0) this.#byCaller.delete(caller);
  }

  /** The server of a task method's task; undefined for other methods. Throws `unknown_name` for a task of others. */
  serverOf(call: Call): Server | undefined {
    if (call.era !== 'modern' || !METHODS.has(call.method)) return undefined;
    const id = call.message.string(Field.taskId);
    if (id === undefined) throw new TollgateError('invalid_params', `${call.method} needs params.taskId, a string`);
    const owner = this.#owners.get(id);
    const server = owner === undefined ? undefined : this.#servers().get(owner.server);
    if (server === undefined || owner?.principal !== call.principal.key || owner.endpoint !== call.endpoint) {
      throw new TollgateError('unknown_name', 'Unknown task');
    }
    return server;
  }
}
