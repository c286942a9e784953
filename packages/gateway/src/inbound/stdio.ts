/**
 * Stdio clients. Each `tollgate --stdio` process pumps its pipes to the attach socket of the one running gateway, so
 * that all editors of a machine share its limits. Reaching the socket (0600 in a 0700 folder) is the authentication:
 * whoever connects is the local user.
 */
import { chmod, lstat, mkdir, open, stat, unlink } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { newSessionId } from '../core/ids.ts';
import type { Log } from '../core/log.ts';
import type { Principal } from '../core/principal.ts';
import type { Face } from '../protocol/call.ts';
import { failedId } from '../protocol/json/rules.ts';
import { scan } from '../protocol/json/scan.ts';
import { errorBytes } from '../protocol/json/splice.ts';
import type { Message } from '../protocol/message.ts';
import { NdjsonParser } from '../protocol/ndjson.ts';
import { HELLO_MAX, readHello } from './attach-hello.ts';
import { ChannelClient } from './channel.ts';
import { clientLeft, OpenCalls, shuttingDown } from './edge.ts';
import type { InboundOptions } from './options.ts';
import { toLine } from './wire.ts';

/** Milliseconds in which a living gateway accepts a connection to its attach socket. */
const PROBE_TIME = 1000;
/** Milliseconds: how long a take-over is waited for, how often it is looked at, and when its lock is a dead one's. */
const LOCK_WAIT = 5000;
const LOCK_POLL = 20;
const LOCK_AGE = 10_000;

export interface StdioEdgeDeps {
  readonly log: Log;
  readonly clock: Clock;
  /** The local user, who every stdio client is. */
  readonly principal: Principal;
  /** Called with the number of attached clients whenever it changes. */
  readonly onClients?: ((count: number) => void) | undefined;
}

export interface StdioEdge {
  /** Opens the attach socket. Rejects with `listen_failed` when another gateway holds it or it cannot be made safe. */
  listen(): Promise<void>;
  /** Takes new caps for clients that attach from now on; the socket stays. */
  reconfigure(options: InboundOptions): void;
  /** Like `HttpEdge.drain`. */
  drain(deadlineMs: number): Promise<void>;
  close(): Promise<void>;
  readonly clientCount: number;
}

/** Serves stdio clients on `options.attachSocket`, which must be set. */
export function createStdioEdge(options: InboundOptions, face: () => Face, deps: StdioEdgeDeps): StdioEdge {
  return new SocketStdioEdge(options, face, deps);
}

class SocketStdioEdge implements StdioEdge {
  #options: InboundOptions;
  readonly #face: () => Face;
  readonly #deps: StdioEdgeDeps;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #clients = new Set<ChannelClient>();
  readonly #calls = new OpenCalls();

  constructor(options: InboundOptions, face: () => Face, deps: StdioEdgeDeps) {
    this.#options = options;
    this.#face = face;
    this.#deps = deps;
    this.#server = createServer((socket) => this.#connected(socket));
    this.#server.maxConnections = options.caps.streams;
    this.#server.on('error', (error) => deps.log.error({ err: error }, 'the attach socket failed'));
  }

  get clientCount(): number {
    return this.#clients.size;
  }

  async listen(): Promise<void> {
    const path = this.#options.attachSocket!;
    await prepareFolder(dirname(path));
    await alone(path, async () => {
      await removeStale(path);
      await this.#bind(path);
      await chmod(path, 0o600);
    });
  }

  async #bind(path: string): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const failed = (error: NodeJS.ErrnoException): void => reject(unusable(path, error.code ?? 'error', error));
      this.#server.once('error', failed);
      this.#server.listen(path, () => {
        this.#server.off('error', failed);
        resolve();
      });
    });
  }

  reconfigure(options: InboundOptions): void {
    this.#options = { ...options, attachSocket: this.#options.attachSocket };
  }

  async drain(deadlineMs: number): Promise<void> {
    this.#server.close();
    this.#calls.end('listening');
    await this.#calls.empty(deadlineMs);
    await this.close();
  }

  async close(): Promise<void> {
    this.#calls.end('all');
    await this.#calls.empty(100);
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const client of [...this.#clients]) client.lifetime.end(shuttingDown());
    for (const socket of this.#sockets) socket.end(() => socket.destroy());
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, 200);
    await closed;
    clearTimeout(timer);
  }

  /** Waits for the hello, then serves the connection as one client. */
  #connected(socket: Socket): void {
    const { caps } = this.#options;
    this.#sockets.add(socket);
    let client: ChannelClient | undefined;
    const late = setTimeout(() => refuse(socket, 'no hello came in time'), caps.headerTime);
    socket.on('error', (error) => this.#deps.log.debug({ err: error }, 'a stdio client lost its connection'));
    socket.on('close', () => {
      clearTimeout(late);
      this.#sockets.delete(socket);
      client?.lifetime.end(clientLeft());
    });
    socket.on('end', () => client?.lifetime.end(clientLeft()));
    const lines = new NdjsonParser(caps.body, {
      onLine: (line) => {
        if (socket.destroyed || socket.writableEnded) return;
        if (client !== undefined) this.#message(client, line);
        else {
          clearTimeout(late);
          client = this.#hello(socket, line);
        }
      },
      onOversize: (cap) => {
        const error = new TollgateError('payload_too_large', `A message is longer than ${cap} bytes (\`caps.body\`).`);
        if (client === undefined) refuse(socket, 'the hello is too long');
        else client.send(errorBytes(undefined, error.rpc, error.message));
      },
    });
    socket.on('data', (chunk: Buffer) => {
      if (client === undefined && socket.bytesRead > HELLO_MAX && !chunk.includes(0x0a)) {
        refuse(socket, 'the hello is too long');
      } else {
        lines.push(chunk);
      }
    });
  }

  #hello(socket: Socket, line: Buffer): ChannelClient | undefined {
    const endpoint = readHello(line.toString('utf8'));
    if (endpoint === undefined) {
      refuse(socket, 'this is not a hello of version 1; use the same version of Tollgate on both sides');
      return undefined;
    }
    if (this.#face().endpoint(endpoint) === undefined) {
      refuse(socket, `the gateway serves no endpoint ${endpoint}`);
      return undefined;
    }
    if (this.#face().draining) {
      refuse(socket, 'the gateway is shutting down', true);
      return undefined;
    }
    const { caps } = this.#options;
    const client: ChannelClient = new ChannelClient({
      id: newSessionId(),
      transport: 'stdio',
      principal: this.#deps.principal,
      endpoint,
      face: this.#face,
      clock: this.#deps.clock,
      calls: this.#calls,
      maxCalls: caps.streamsPerPrincipal,
      send: (message) => this.#send(socket, client, message),
    });
    this.#clients.add(client);
    client.lifetime.onEnd(() => {
      this.#clients.delete(client);
      this.#deps.onClients?.(this.#clients.size);
      socket.end();
    });
    socket.write('{"ok":true}\n');
    this.#deps.onClients?.(this.#clients.size);
    return client;
  }

  #send(socket: Socket, client: ChannelClient, message: Buffer): boolean {
    if (socket.destroyed || socket.writableEnded) return false;
    const waiting = socket.writableLength;
    if (waiting > 0 && waiting + message.length > this.#options.caps.streamBuffer) {
      socket.destroy();
      client.lifetime.end(
        new TollgateError('cancelled', 'The client does not read its messages. Its connection was closed.', {
          executed: 'unknown',
        }),
      );
      return false;
    }
    socket.write(toLine(message));
    return true;
  }

  #message(client: ChannelClient, line: Buffer): void {
    let message: Message;
    try {
      message = scan(line, this.#options.caps);
    } catch (error) {
      const wrong = TollgateError.from(error);
      client.send(errorBytes(failedId(error), wrong.rpc, wrong.message));
      return;
    }
    try {
      client.receive(message, this.#deps.principal);
    } catch (error) {
      this.#deps.log.error({ err: error }, 'a message of a stdio client could not be handled');
    }
  }
}

function refuse(socket: Socket, why: string, retry = false): void {
  socket.end(`${JSON.stringify({ error: why, retry })}\n`, () => socket.destroy());
}

/** The folder must be the user's alone: otherwise another user could put a socket of their own there. */
async function prepareFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const found = await lstat(folder);
  const uid = process.getuid?.();
  if (!found.isDirectory() || (uid !== undefined && found.uid !== uid)) {
    throw unusable(folder, 'the folder belongs to somebody else');
  }
  if (uid !== undefined && (found.mode & 0o077) !== 0) await chmod(folder, 0o700);
}

/**
 * Runs the take-over of a socket alone: several gateways may start at once after a crash, and none may remove the
 * socket that another has just opened. A lock that is older than any take-over was left by a process that died in it.
 */
async function alone(path: string, takeOver: () => Promise<void>): Promise<void> {
  const lock = `${path}.lock`;
  const until = performance.now() + LOCK_WAIT;
  for (;;) {
    try {
      await (await open(lock, 'wx', 0o600)).close();
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST')
        throw unusable(path, 'its folder cannot be written', error);
    }
    const made = await stat(lock).then(
      (found) => found.mtimeMs,
      () => undefined,
    );
    if (made !== undefined && Date.now() - made > LOCK_AGE) await unlink(lock).catch(() => undefined);
    else if (performance.now() > until) throw unusable(path, 'another gateway of the same configuration is starting');
    else await sleep(LOCK_POLL);
  }
  try {
    await takeOver();
  } finally {
    await unlink(lock).catch(() => undefined);
  }
}

/** Removes the socket of a gateway that died; one that still answers is left alone and refused. */
async function removeStale(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) throw unusable(path, 'something that is not a socket has this name');
  if (await answers(path)) throw unusable(path, 'another gateway of the same configuration is running');
  await unlink(path).catch(() => undefined);
}

/** Whether somebody accepts connections on a socket; one that neither accepts nor refuses counts as alive. */
async function answers(path: string): Promise<boolean> {
  return await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    const settle = (alive: boolean): void => {
      clearTimeout(timer);
      probe.destroy();
      resolve(alive);
    };
    // A start keeps the process busy, and timers come before the refusal that has been there for long.
    const timer = setTimeout(() => setImmediate(() => settle(true)), PROBE_TIME);
    probe.on('connect', () => settle(true));
    probe.on('error', (error: NodeJS.ErrnoException) =>
      settle(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT'),
    );
  });
}

function unusable(path: string, why: string, cause?: unknown): TollgateError {
  return new TollgateError('listen_failed', `Cannot use the attach socket ${path}: ${why}.`, { cause });
}
