/**
 * A fake MCP server over standard input and output, as a program of its own:
 * `node fake-stdio.ts '{"era":"legacy","extraTools":3}'`. Reports its process id and arguments on standard error.
 * With `"stubborn": true` it ignores SIGTERM and the end of its input; with `"grandchild": true` it starts a process
 * of its own that outlives it unless the whole group is ended.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { createAnswers, type FakeOptions, type Fault, filler, type JsonObject, requestedFault } from './fake-tools.ts';

interface StdioOptions extends Pick<FakeOptions, 'extraTools' | 'pageSize' | 'name' | 'instructions'> {
  /** Which eras it answers; default `dual`. */
  readonly era?: 'legacy' | 'modern' | 'dual';
  readonly stubborn?: boolean;
  readonly grandchild?: boolean;
  /** Milliseconds before the first answer, for start-up deadlines. */
  readonly startDelay?: number;
  /** Largest delay of a tools/call; delays are spread by a fixed pattern so that answers overtake each other. */
  readonly shuffle?: number;
}

const options = JSON.parse(process.argv[2] ?? '{}') as StdioOptions;
const { shuffle } = options;
const answers = createAnswers({
  ...options,
  ...(shuffle === undefined ? {} : { latency: (call: number) => (call * 7919) % shuffle }),
});
const era = options.era ?? 'dual';
if (options.stubborn === true) process.on('SIGTERM', () => {});
if (options.grandchild === true) spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'inherit' });
console.error(`fake-stdio ${process.pid} up`);

const send = (line: string): void => void process.stdout.write(`${line}\n`);

function isModern(message: JsonObject): boolean {
  const meta = (message['params'] as JsonObject | undefined)?.['_meta'] as JsonObject | undefined;
  return meta?.['io.modelcontextprotocol/protocolVersion'] === '2026-07-28';
}

/** What each fault puts on the wire; `good` is the line that a healthy server would have sent. */
const misbehave: Record<Fault, (id: unknown, good: string) => void> = {
  garbage: () => send('{"jsonrpc": "2.0", "id": 1, "result": {{{'),
  html: () => send('<html>not a message</html>'),
  wrong_id: () => send(JSON.stringify({ jsonrpc: '2.0', id: 'nobody', result: {} })),
  duplicate: (_id, good) => send(`${good}\n${good}`),
  silent: () => {},
  redirect: () => {},
  endless: function pour() {
    while (process.stdout.write(filler(64 * 1024)));
    process.stdout.once('drain', pour);
  },
  invalid_utf8: (_id, good) => {
    const [before = '', after = ''] = `${good}\n`.split('invalid_utf8');
    process.stdout.write(Buffer.concat([Buffer.from(before), Buffer.from([0xff, 0xfe, 0xc0]), Buffer.from(after)]));
  },
  half_close: (_id, good) => process.stdout.write(good.slice(0, 20), () => process.stdout.end()),
  status_500: (id) => send(JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32603, message: 'Internal error' } })),
  empty_response: (id) => send(JSON.stringify({ jsonrpc: '2.0', id })),
  request_instead: (id) => send(JSON.stringify({ jsonrpc: '2.0', id, method: 'roots/list', params: {} })),
  reset: () => process.exit(3),
  die: () => {
    console.error('fake-stdio: fatal: asked to die');
    process.exit(3);
  },
};

async function handle(line: string): Promise<void> {
  const message = JSON.parse(line) as JsonObject;
  const { id, method } = message;
  if (id === undefined || method === undefined) return;
  const modern = isModern(message);
  if (modern ? era === 'legacy' : era === 'modern') {
    return send(JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32601, message: 'Method not found' } }));
  }
  if (modern && method === 'subscriptions/listen') {
    const { notifications } = message['params'] as JsonObject;
    const params = { notifications, _meta: { 'io.modelcontextprotocol/subscriptionId': id } };
    return send(JSON.stringify({ jsonrpc: '2.0', method: 'notifications/subscriptions/acknowledged', params }));
  }
  const fault = requestedFault(message);
  if (fault !== undefined) {
    const result = { content: [{ type: 'text', text: fault }], resultType: 'complete' };
    return misbehave[fault](id, JSON.stringify({ jsonrpc: '2.0', id, result }));
  }
  send(await answers.answer(message, modern ? 'modern' : 'legacy'));
}

const begin = (): void => {
  const lines = createInterface({ input: process.stdin });
  lines.on(
    'line',
    (line) => void handle(line).catch((error: unknown) => console.error(`fake-stdio: ${String(error)}`)),
  );
  lines.on('close', () => {
    if (options.stubborn === true) setInterval(() => {}, 1000);
    else process.exit(0);
  });
};
if (options.startDelay === undefined) begin();
else setTimeout(begin, options.startDelay);
