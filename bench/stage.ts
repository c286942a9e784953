/**
 * One measured stage of the in-process path. `run` does the stage's work `iterations` times, with no allocation of its
 * own beyond what the stage itself does, so that main.ts can divide the time by the count.
 */
export interface Stage {
  /** Short label, unique among the stages, as printed in the table. */
  name: string;
  /** A promise where the work itself is asynchronous: each iteration then ends before the next begins. */
  run(iterations: number): void | Promise<void>;
}
