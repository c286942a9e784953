/** Entry of the store's threads: answers the requests of the main thread, one service for each role. */
import { enableCompileCache } from 'node:module';
import { dirname } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { redactor, sentError } from './failure.ts';
import type { ThreadData, ThreadReply, ThreadRequest, ThreadService } from './messages.ts';

const { role, options: sent, codeCache } = workerData as ThreadData;
// A thread does not inherit the cache of its process.
if (codeCache !== undefined) enableCompileCache(dirname(codeCache));
// A Buffer arrives as a plain Uint8Array.
const options = sent.encryptionKey === undefined ? sent : { ...sent, encryptionKey: Buffer.from(sent.encryptionKey) };
const redact = redactor(options.sql);
const port = parentPort!;

const service: Promise<ThreadService> =
  role === 'sql'
    ? import('./sql-thread.ts').then((module) => module.sqlThread(options))
    : import('./journal-thread.ts').then((module) => module.journalThread(options));

port.on('message', (request: ThreadRequest) => {
  void answer(request).then((reply) => port.postMessage(reply, buffersOf(reply)));
});

async function answer({ id, method, args }: ThreadRequest): Promise<ThreadReply> {
  try {
    const value = await (await service)[method]!(...(args as never[]));
    return { id, value };
  } catch (error) {
    return { id, error: sentError(error, redact) };
  } finally {
    if (method === 'close') setImmediate(() => port.close());
  }
}

/** Buffers that an answer consists of, or holds in a list, change hands instead of being copied. */
function buffersOf(reply: ThreadReply): ArrayBuffer[] {
  const value = 'value' in reply ? reply.value : undefined;
  if (value instanceof ArrayBuffer) return [value];
  const listed = (value as { readonly transfer?: unknown } | undefined)?.transfer;
  return Array.isArray(listed) ? (listed as ArrayBuffer[]) : [];
}
