/**
 * One measured stage of the in-process path. `run` does the stage's work `iterations` times, with no allocation of its
 * own beyond what the stage itself does, so that main.ts can divide the time by the count.
 */
export interface Stage {
  /** Short label, unique among the stages, as printed in the table. */
  name: string;
  run(iterations: number): void;
}
