import { setTimeout as sleep } from 'node:timers/promises';

const PERIODS = { hour: 3_600_000, day: 86_400_000 } as const;

/**
 * Waits, where the hour or the day (UTC) is about to turn, until it has: for tests that count in a window of the
 * calendar, which a turn would empty under them. `room`: milliseconds that the test needs; default a minute.
 */
export async function awayFromTurn(period: keyof typeof PERIODS, room = 60_000): Promise<void> {
  const left = PERIODS[period] - (Date.now() % PERIODS[period]);
  if (left < room) await sleep(left + 50);
}
