/** Requests and answers as lines of JSON, to a process or over a socket. */
import { type ChildProcess, spawn } from 'node:child_process';
import { connect } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { TollgateError } from '../core/errors.ts';

export interface Channel {
  readonly input: Writable;
  readonly output: Readable;
  end(): void;
}

/** Answers of a request may take so long. */
const PATIENCE = 5_000;
const MAX_LINE = 64 * 1024;
const MAX_WAITING = 1000;

interface Waiting {
  resolve(value: unknown): void;
  reject(error: TollgateError): void;
  readonly timer: NodeJS.Timeout;
}

export class JsonLines {
  readonly #open: () => Channel;
  readonly #name: string;
  readonly #patience: number;
  readonly #waiting = new Map<number, Waiting>();
  #channel: Channel | undefined;
  #buffered = '';
  #lastId = 0;

  /** `open` is called for the first request and for the first after the other side has gone. */
  constructor(name: string, open: () => Channel, patience: number = PATIENCE) {
    this.#name = name;
    this.#open = open;
    this.#patience = patience;
  }

  /** The `result` of the answer. Rejects with `vault_unavailable`, or with what the answer says is wrong. */
  request(method: string, params: object): Promise<unknown> {
    if (this.#waiting.size >= MAX_WAITING) return Promise.reject(this.#away('has too much to do'));
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(this.#away(`does not answer within ${this.#patience / 1000} s`));
        // What hangs once may hang for ever; the next request begins anew.
        if (this.#waiting.size === 0) this.#lost(this.#channel, 'hangs');
      }, this.#patience);
      this.#waiting.set(id, { resolve, reject, timer });
      try {
        this.#channel ??= this.#connected();
        this.#channel.input.write(`${JSON.stringify({ id, method, ...params })}\n`);
      } catch (error) {
        this.#lost(this.#channel, (error as Error).message);
      }
    });
  }

  close(): void {
    this.#lost(this.#channel, 'is closed');
  }

  #connected(): Channel {
    const channel = this.#open();
    const gone = (why: string) => this.#lost(channel, why);
    this.#buffered = '';
    channel.output.setEncoding('utf8');
    channel.output.on('data', (text: string) => this.#read(channel, text));
    channel.output.on('error', (error) => gone(error.message));
    channel.output.on('close', () => gone('went away'));
    if ((channel.input as unknown) !== channel.output) channel.input.on('error', (error) => gone(error.message));
    return channel;
  }

  #read(channel: Channel, text: string): void {
    if (channel !== this.#channel) return;
    const lines = (this.#buffered + text).split('\n');
    this.#buffered = lines.pop()!;
    if (this.#buffered.length > MAX_LINE) {
      this.#lost(channel, 'writes without ending its line');
      return;
    }
    for (const line of lines) this.#answer(line);
  }

  #answer(line: string): void {
    let answer: { readonly id?: unknown; readonly result?: unknown; readonly error?: unknown };
    try {
      answer = (JSON.parse(line) ?? {}) as typeof answer;
    } catch {
      // Noise belongs to no request; what is waited for comes, or its time runs out.
      return;
    }
    const waiting = typeof answer.id === 'number' ? this.#waiting.get(answer.id) : undefined;
    if (waiting === undefined) return;
    this.#waiting.delete(answer.id as number);
    clearTimeout(waiting.timer);
    if (answer.error === undefined) waiting.resolve(answer.result);
    else waiting.reject(this.#said(answer.error));
  }

  #said(error: unknown): TollgateError {
    const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
    const text = typeof message === 'string' ? message.slice(0, 300) : 'no reason given';
    if (code === 'wrong_key') return new TollgateError('vault_key_wrong', `${this.#name}: ${text}`);
    if (code === 'unsupported') return new TollgateError('usage', `${this.#name}: ${text}`);
    return this.#away(`cannot: ${text}`);
  }

  #lost(channel: Channel | undefined, why: string): void {
    if (channel !== this.#channel) return;
    this.#channel = undefined;
    this.#buffered = '';
    channel?.end();
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject, timer } of all) {
      clearTimeout(timer);
      reject(this.#away(why));
    }
  }

  #away(why: string): TollgateError {
    return new TollgateError('vault_unavailable', `${this.#name} ${why}`, { retryAfterSeconds: 5 });
  }
}

/** A program of the operator, with the environment of the gateway; it is ended with it. */
export function processChannel([program, ...args]: readonly [string, ...string[]], cwd: string): Channel {
  const child: ChildProcess = spawn(program, args, { cwd, stdio: ['pipe', 'pipe', 'ignore'], shell: false });
  const { stdin, stdout } = child;
  child.on('error', (error) => stdout?.destroy(error));
  return { input: stdin!, output: stdout!, end: () => void child.kill() };
}

export function socketChannel(path: string): Channel {
  const socket = connect(path);
  return { input: socket, output: socket, end: () => void socket.destroy() };
}
