import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Requests of one connection that may be unanswered at a time (pipelining); no client of ours needs more than one. */
export const MAX_PIPELINED = 64;

/**
 * One connection. A list and not a set: a set that is filled and emptied all the time is built anew again and again, each
 * old table refers to the next, and from the first one among the old objects on they all stay until the next full
 * garbage collection, with every request that was in them.
 */
export class Connection {
  readonly #open: ServerResponse[] = [];
  /** Who sent the last request; only identity reads and writes it. */
  lastCaller: object | undefined = undefined;

  /** Requests begun and not yet answered. */
  get open(): number {
    return this.#open.length;
  }

  /** True when no byte of an answer can be under way. */
  get silent(): boolean {
    return this.#open.length === 0 || (this.#open.length === 1 && !this.#open[0]!.headersSent);
  }

  begin(response: ServerResponse): void {
    this.#open.push(response);
  }

  ended(response: ServerResponse): void {
    const at = this.#open.indexOf(response);
    if (at >= 0) this.#open.splice(at, 1);
  }
}

/** The sockets of a listener and what is unanswered on them. */
export class Connections {
  /** Below TLS: sockets whose handshake may still be under way. */
  readonly #raw = new Set<Socket>();
  readonly #bySocket = new Map<Socket, Connection>();

  get size(): number {
    return this.#bySocket.size;
  }

  add(socket: Socket): void {
    this.#bySocket.set(socket, new Connection());
    socket.on('close', () => this.#bySocket.delete(socket));
  }

  /** A socket on which TLS begins; what is added later is the one above it. */
  addRaw(socket: Socket): void {
    this.#raw.add(socket);
    // Before the handshake nobody else listens, and an error without a listener ends the process.
    socket.on('error', ignore);
    socket.on('close', () => this.#raw.delete(socket));
  }

  /** Notes a request on its connection; its exchange takes it off again. */
  begin(socket: Socket, response: ServerResponse): Connection | undefined {
    const connection = this.#bySocket.get(socket);
    connection?.begin(response);
    return connection;
  }

  has(socket: Socket): boolean {
    return this.#bySocket.has(socket);
  }

  /** True when a bare status line would be read as what it is. */
  silent(socket: Socket): boolean {
    return this.#bySocket.get(socket)?.silent ?? true;
  }

  destroy(): void {
    for (const socket of this.#bySocket.keys()) socket.destroy();
    for (const socket of this.#raw) socket.destroy();
  }
}

function ignore(): void {}
