import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Resolves with the first value of `probe` that is neither undefined, null nor false. Polls every `interval`
 * milliseconds (default 10) and rejects after `timeout` milliseconds (default 30 000: it ends what hangs, and a busy
 * machine is slow) naming `what`.
 */
export async function waitUntil<T>(
  what: string,
  probe: () => T | Promise<T>,
  options: { readonly timeout?: number; readonly interval?: number } = {},
): Promise<Exclude<T, undefined | null | false>> {
  const timeout = options.timeout ?? 30_000;
  const end = performance.now() + timeout;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== null && value !== false) {
      return value as Exclude<T, undefined | null | false>;
    }
    if (performance.now() >= end) throw new Error(`Waited ${timeout} ms in vain for ${what}`);
    await sleep(options.interval ?? 10);
  }
}

/** `promise`, or a rejection naming `what` after `timeout` milliseconds. The timer never keeps the process alive. */
export async function within<T>(what: string, timeout: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`No ${what} within ${timeout} ms`)), timeout);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
