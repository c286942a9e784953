import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Requests of one connection that may be unanswered at a time (pipelining); no client of ours needs more than one. */
export const MAX_PIPELINED = 64;

export interface Connection {
  /** Requests begun and not yet answered, in order. */
  readonly open: Set<ServerResponse>;
}

/** The sockets of a listener and what is unanswered on them. */
export class Connections {
  readonly #bySocket = new Map<Socket, Connection>();

  get size(): number {
    return this.#bySocket.size;
  }

  add(socket: Socket): void {
    this.#bySocket.set(socket, { open: new Set() });
    socket.on('close', () => this.#bySocket.delete(socket));
  }

  /** Notes a request on its connection; its exchange takes it off again. */
  begin(socket: Socket, response: ServerResponse): Connection | undefined {
    const connection = this.#bySocket.get(socket);
    connection?.open.add(response);
    return connection;
  }

  /** True when no byte of an answer can be under way, so that a bare status line would be read as what it is. */
  silent(socket: Socket): boolean {
    const open = this.#bySocket.get(socket)?.open;
    if (open === undefined || open.size === 0) return true;
    const [only] = open;
    return open.size === 1 && only?.headersSent === false;
  }

  destroy(): void {
    for (const socket of this.#bySocket.keys()) socket.destroy();
  }
}
