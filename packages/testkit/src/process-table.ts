import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';

export interface ProcessEntry {
  readonly pid: number;
  readonly parent: number;
  /** Distinguishes a process from a later one that got the same pid. */
  readonly started: string;
  readonly command: string;
}

/** Every process of this machine that can be seen, zombies left out. Reads /proc, or asks `ps` where there is none. */
export function processTable(): ProcessEntry[] {
  return existsSync('/proc/self/stat') ? fromProc() : fromPs();
}

function fromProc(): ProcessEntry[] {
  const table: ProcessEntry[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      // The command stands in brackets and may itself contain blanks and brackets: split after the last one.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (fields[0] === 'Z') continue;
      const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      table.push({ pid: Number(name), parent: Number(fields[1]), started: fields[19] ?? '', command });
    } catch {
      // Ended between listing and reading.
    }
  }
  return table;
}

function fromPs(): ProcessEntry[] {
  const table: ProcessEntry[] = [];
  const output = execFileSync('ps', ['-A', '-o', 'pid=,ppid=,stat=,lstart=,command='], { encoding: 'utf8' });
  for (const line of output.split('\n')) {
    const match = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(\S+\s+\S+\s+\S+\s+\S+\s+\S+)\s+(.*)$/.exec(line);
    if (match === null || match[3]?.startsWith('Z') === true) continue;
    table.push({
      pid: Number(match[1]),
      parent: Number(match[2]),
      started: match[4] ?? '',
      command: match[5] ?? '',
    });
  }
  return table;
}

/** All descendants of `pid`, itself left out. */
export function descendantsOf(pid: number, table: readonly ProcessEntry[] = processTable()): ProcessEntry[] {
  const found: ProcessEntry[] = [];
  const parents = [pid];
  for (let parent = parents.pop(); parent !== undefined; parent = parents.pop()) {
    for (const entry of table) {
      if (entry.parent === parent) {
        found.push(entry);
        parents.push(entry.pid);
      }
    }
  }
  return found;
}

/** Those of `before` that still run now: the same pid with the same start time. */
export function survivors(before: readonly ProcessEntry[]): ProcessEntry[] {
  const now = new Map(processTable().map((entry) => [entry.pid, entry.started]));
  return before.filter((entry) => now.get(entry.pid) === entry.started);
}

/** Resident memory of a process in bytes; undefined when it is gone or the system does not tell. */
export function residentBytes(pid: number): number | undefined {
  try {
    const match = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    return match === null ? undefined : Number(match[1]) * 1024;
  } catch {
    return undefined;
  }
}
