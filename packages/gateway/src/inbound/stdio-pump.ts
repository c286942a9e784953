/** The client side of attaching: what `tollgate --stdio` does with its pipes. */
import { lstatSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { TollgateError } from '../core/errors.ts';
import { HELLO_MAX, helloLine, helloRefusal } from './attach-hello.ts';

export interface PumpOptions {
  readonly socketPath: string;
  /** Endpoint to speak to, for example `/mcp`. */
  readonly endpoint: string;
  readonly stdin: Readable;
  readonly stdout: Writable;
  /** Milliseconds for connecting and for the gateway's answer. Default 5000. */
  readonly timeout?: number | undefined;
}

/**
 * Moves bytes between a client's pipes and the gateway until either side ends, and says which. Rejects with `gateway_not_running`
 * when nobody listens or the gateway is leaving; nothing was read from `stdin` then, so the caller may start a gateway
 * and try again. Rejects with `usage` when trying again cannot help: an unknown endpoint, another version; with
 * `config_invalid` for a socket that no gateway of this user made.
 */
export async function pumpStdio(options: PumpOptions): Promise<'client' | 'gateway'> {
  const socket = await open(options);
  const { stdin, stdout } = options;
  return new Promise((resolve) => {
    let first: 'client' | 'gateway' = 'gateway';
    const clientLeft = (): void => {
      first = 'client';
    };
    stdin.once('end', clientLeft);
    for (const pipe of [stdin, stdout]) pipe.on('error', clientLeft);
    socket.on('error', () => socket.destroy());
    stdout.on('error', () => socket.destroy());
    stdin.on('error', () => socket.end());
    // `destroy` by the gateway ends the pump as well; a client that closes stdin wants no more answers.
    socket.on('close', () => {
      stdin.unpipe(socket);
      stdin.pause();
      resolve(first);
    });
    stdin.pipe(socket);
    socket.pipe(stdout, { end: false });
  });
}

/** Connects and says hello. */
async function open(options: PumpOptions): Promise<Socket> {
  const { socketPath, endpoint, timeout = 5000 } = options;
  refuseStranger(socketPath);
  const socket = connect(socketPath);
  try {
    const answer = await new Promise<string>((resolve, reject) => {
      const failed = (why: string, cause?: unknown): void =>
        reject(new TollgateError('gateway_not_running', `Cannot attach at ${socketPath}: ${why}.`, { cause }));
      const timer = setTimeout(() => failed(`no answer within ${timeout} ms`), timeout);
      let read = Buffer.alloc(0);
      socket.on('error', (error: NodeJS.ErrnoException) => {
        clearTimeout(timer);
        failed(
          error.code === 'ENOENT' || error.code === 'ECONNREFUSED' ? 'no gateway is running' : error.message,
          error,
        );
      });
      socket.on('close', () => {
        clearTimeout(timer);
        failed('the gateway closed the connection');
      });
      socket.on('connect', () => socket.write(helloLine(endpoint)));
      socket.on('readable', () => {
        for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null) {
          read = Buffer.concat([read, chunk]);
        }
        const end = read.indexOf(0x0a);
        if (end < 0 && read.length <= HELLO_MAX) return;
        clearTimeout(timer);
        if (end < 0) {
          failed('the answer is not one of a Tollgate gateway');
          return;
        }
        socket.removeAllListeners('readable');
        if (end + 1 < read.length) socket.unshift(read.subarray(end + 1));
        resolve(read.toString('utf8', 0, end));
      });
    });
    const refusal = helloRefusal(answer);
    if (refusal !== undefined) {
      const code = refusal.retry ? 'gateway_not_running' : 'usage';
      throw new TollgateError(code, `The gateway at ${socketPath} refused: ${refusal.why}.`);
    }
    socket.removeAllListeners('error').removeAllListeners('close');
    return socket;
  } catch (error) {
    socket.on('error', () => undefined).destroy();
    throw error;
  }
}

/**
 * In a folder that came with a repository, or that a group may write to, the socket could be a link to one of another
 * service, or one of another user, who would be shown all that the client says.
 */
function refuseStranger(path: string): void {
  if (process.platform === 'win32') return;
  const found = lstatSync(path, { throwIfNoEntry: false });
  const uid = process.getuid?.() ?? found?.uid;
  if (found === undefined || (found.isSocket() && (uid === 0 || found.uid === uid))) return;
  throw new TollgateError(
    'config_invalid',
    `The attach socket ${path} is not used: it is a link, no socket, or belongs to another user. Delete it`,
  );
}
