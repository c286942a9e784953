/** How long to wait before trying a server again. */
const FIRST_MS = 1000;

/** Milliseconds to wait after so many failures before: 1 s, 2 s, 4 s … at most `max`, each up to a quarter longer. */
export function backoff(failures: number, max = 60_000): number {
  // Jitter: gateways and servers that fell together must not come back in step.
  return Math.min(max, FIRST_MS * 2 ** Math.min(failures, 6)) * (1 + Math.random() / 4);
}

/** The same for what worked before: the first time almost at once, since one break is usually just that. */
export function resumption(failures: number, max?: number): number {
  return failures === 0 ? 20 : backoff(failures - 1, max);
}
