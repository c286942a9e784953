/**
 * Which server made which task, and for whom (tasks extension of MCP 2026-07-28): later requests about a task go to
 * that server, and only for the caller it was given to. To anybody else the task does not exist.
 */
import { TollgateError } from '../core/errors.ts';
import type { Call } from '../protocol/call.ts';
import { Field, type Message } from '../protocol/message.ts';
import type { Server } from '../protocol/peer.ts';

const METHODS: ReadonlySet<string> = new Set(['tasks/get', 'tasks/update', 'tasks/cancel']);
/** Tasks remembered; the oldest give way. */
const MAX_TASKS = 10_000;

interface Owner {
  readonly server: string;
  readonly principal: number;
  readonly endpoint: string;
}

export class TaskOwners {
  readonly #owners = new Map<string, Owner>();
  readonly #servers: () => ReadonlyMap<string, Server>;

  constructor(servers: () => ReadonlyMap<string, Server>) {
    this.#servers = servers;
  }

  /** Looks at an answer that carries a `resultType`; remembers the task when it is one. */
  remember(call: Call, response: Message): void {
    if (call.server === undefined || response.string(Field.resultType) !== 'task') return;
    const result = response.json(Field.result) as { taskId?: unknown };
    // A hostile server that repeats another's id must not take its task over.
    if (typeof result.taskId !== 'string' || this.#owners.has(result.taskId)) return;
    if (this.#owners.size >= MAX_TASKS) this.#owners.delete(this.#owners.keys().next().value ?? '');
    this.#owners.set(result.taskId, { server: call.server, principal: call.principal.key, endpoint: call.endpoint });
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
