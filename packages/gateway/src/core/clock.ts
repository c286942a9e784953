/** Time as a dependency, so that tests own it. Wall time for people and tokens, monotonic time for durations. */
export interface Clock {
  /** Milliseconds since the epoch. */
  wall(): number;
  /** Monotonic milliseconds with sub-millisecond fraction; its zero has no meaning. */
  monotonic(): number;
}

export const systemClock: Clock = {
  wall: () => Date.now(),
  monotonic: () => performance.now(),
};
