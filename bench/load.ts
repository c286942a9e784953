/**
 * The load generator, a process of its own: keep-alive sockets, requests built beforehand, one in flight on each.
 * Takes one `LoadOrder` at a time from its parent and answers with a `LoadResult`.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Histogram } from './histogram.ts';

export interface LoadOrder {
  readonly port: number;
  readonly path: string;
  readonly body: string;
  readonly connections: number;
  /** Milliseconds that are not counted, then milliseconds that are. */
  readonly warmUp: number;
  readonly duration: number;
  /** Requests a second in all, evenly spaced, whatever the answers do; undefined: as fast as the answers come. */
  readonly rate?: number;
}

export interface LoadResult {
  readonly completed: number;
  /** All answers, those of the warm-up included. */
  readonly answered: number;
  /** Answers that were not HTTP 200 or carried another id. */
  readonly wrong: number;
  readonly seconds: number;
  readonly counts: readonly number[];
}

const ID_MARK = '"id":1';
const NAP = new Int32Array(new SharedArrayBuffer(4));

/** Reads one answer after the other from a socket; each must be complete before the next request goes out. */
class Lane {
  readonly socket: Socket;
  busy = false;
  startedAt = 0n;
  #head = '';
  #inBody = false;
  #expected = -1;
  #got = 0;
  #tail: Buffer = Buffer.alloc(0);
  #sawId = false;
  readonly #done: (lane: Lane, good: boolean) => void;

  constructor(socket: Socket, done: (lane: Lane, good: boolean) => void) {
    this.socket = socket;
    this.#done = done;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
  }

  #read(chunk: Buffer): void {
    let body = chunk;
    if (!this.#inBody) {
      this.#head += chunk.toString('latin1');
      const end = this.#head.indexOf('\r\n\r\n');
      if (end < 0) return;
      const already = this.#head.length - chunk.length;
      body = chunk.subarray(end + 4 - already);
      this.#head = this.#head.slice(0, end);
      const length = /\r\ncontent-length: (\d+)/i.exec(this.#head);
      this.#expected = length === null ? -1 : Number(length[1]);
      this.#inBody = true;
      this.#got = 0;
    }
    if (!this.#sawId && body.length > 0) this.#sawId = body.subarray(0, 256).includes(ID_MARK);
    this.#got += body.length;
    if (this.#expected >= 0 ? this.#got >= this.#expected : this.#chunkedEnd(body)) this.#finish();
  }

  /** The last chunk is `0\r\n\r\n`; it may arrive in pieces. */
  #chunkedEnd(body: Buffer): boolean {
    this.#tail = body.length >= 5 ? body.subarray(-5) : Buffer.concat([this.#tail, body]).subarray(-5);
    return this.#tail.toString('latin1') === '0\r\n\r\n';
  }

  #finish(): void {
    const good = this.#head.startsWith('HTTP/1.1 200') && this.#sawId;
    this.#head = '';
    this.#inBody = false;
    this.#sawId = false;
    this.#tail = Buffer.alloc(0);
    this.busy = false;
    this.#done(this, good);
  }
}

async function run(order: LoadOrder): Promise<LoadResult> {
  const request = Buffer.from(
    [
      `POST ${order.path} HTTP/1.1`,
      `Host: 127.0.0.1:${order.port}`,
      'Content-Type: application/json',
      'Accept: application/json, text/event-stream',
      'MCP-Protocol-Version: 2026-07-28',
      'Mcp-Method: tools/call',
      'Mcp-Name: echo',
      `Content-Length: ${Buffer.byteLength(order.body)}`,
      '',
      order.body,
    ].join('\r\n'),
  );
  const histogram = new Histogram();
  let completed = 0;
  let answered = 0;
  let wrong = 0;
  let counting = false;
  let running = true;
  const idle: Lane[] = [];

  const send = (lane: Lane, at: bigint): void => {
    lane.busy = true;
    lane.startedAt = at;
    lane.socket.write(request);
  };
  const paced = order.rate !== undefined;
  const done = (lane: Lane, good: boolean): void => {
    answered += 1;
    if (counting) {
      histogram.add(Number(process.hrtime.bigint() - lane.startedAt));
      completed += 1;
      if (!good) wrong += 1;
    }
    if (!running) return;
    if (paced) idle.push(lane);
    else send(lane, process.hrtime.bigint());
  };

  const lanes: Lane[] = [];
  for (let i = 0; i < order.connections; i += 1) {
    const socket = connect(order.port, '127.0.0.1');
    socket.setNoDelay(true);
    socket.on('error', () => {
      wrong += 1;
    });
    await once(socket, 'connect');
    const lane = new Lane(socket, done);
    lanes.push(lane);
    idle.push(lane);
  }
  const started = process.hrtime.bigint();
  if (order.rate === undefined) for (const lane of idle.splice(0)) send(lane, process.hrtime.bigint());
  else {
    const gap = 1e9 / order.rate;
    let sent = 0;
    // A timer's millisecond would bunch the requests and spinning would take a core from the others: the loop turns,
    // and sleeps for some 60 µs (the kernel's shortest) when nothing is due. Latency counts from the planned moment, so a request that
    // had to wait for a free connection shows it.
    const tick = (): void => {
      const now = Number(process.hrtime.bigint() - started);
      while (sent * gap <= now && idle.length > 0) {
        send(idle.pop() as Lane, started + BigInt(Math.round(sent * gap)));
        sent += 1;
      }
      if (!running) return;
      const untilNext = (sent * gap - Number(process.hrtime.bigint() - started)) / 1e6;
      if (idle.length === 0 || untilNext > 0.02) Atomics.wait(NAP, 0, 0, 0.01);
      setImmediate(tick);
    };
    tick();
  }
  await new Promise((resolve) => setTimeout(resolve, order.warmUp));
  counting = true;
  const from = process.hrtime.bigint();
  await new Promise((resolve) => setTimeout(resolve, order.duration));
  counting = false;
  const seconds = Number(process.hrtime.bigint() - from) / 1e9;
  running = false;
  for (const lane of lanes) lane.socket.destroy();
  return { completed, answered, wrong, seconds, counts: histogram.counts };
}

process.on('message', (order: LoadOrder) => {
  run(order).then(
    (result) => process.send?.(result),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
process.on('disconnect', () => process.exit(0));
