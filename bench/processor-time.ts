import { readFileSync } from 'node:fs';

/** Microseconds of a clock tick: USER_HZ is 100 on every architecture that Node runs on. */
const TICK = 10_000;

/** Microseconds of processor time that a process has used, user and system, all threads; undefined without /proc. */
export function processorTime(pid: number): number | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  // The second field is the program's name in parentheses and may hold anything; utime and stime are 14 and 15.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK;
}
