/** A clock that only moves when the test says so. Fits the gateway's and the limiter's clock interfaces. */
export interface FakeClock {
  wall(): number;
  monotonic(): number;
  /** Moves both times forward by `ms`. */
  advance(ms: number): void;
  /** Moves the wall time alone, as a correction by NTP does; monotonic time never goes back. */
  stepWall(ms: number): void;
}

/** Starts at `wall` (default 2026-01-01T00:00:00Z) and monotonic 0. */
export function createFakeClock(wall: number = Date.UTC(2026, 0, 1)): FakeClock {
  let monotonic = 0;
  return {
    wall: () => wall,
    monotonic: () => monotonic,
    advance: (ms) => {
      if (ms < 0) throw new RangeError('Time does not go back; use stepWall for a clock correction');
      wall += ms;
      monotonic += ms;
    },
    stepWall: (ms) => {
      wall += ms;
    },
  };
}
