/** What a child writes to stderr: logged line by line with the server's name, its last lines kept for the status. */
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/log.ts';
import { withoutControls } from '../core/plain-text.ts';
import { LineSplitter } from './lines.ts';

const KEPT_LINES = 20;
const MAX_LINE_BYTES = 8192;
const MAX_LINE_CHARACTERS = 1000;
/** A child that floods must not fill the disk with the gateway's log. */
const LINES_PER_SECOND = 100;

const ESCAPES = /\u001b\[[0-?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)?/g;

/** Text without terminal escapes and control characters (they forge log lines and drive terminals), cut. */
export function plainText(text: string): string {
  const plain = withoutControls(text.replace(ESCAPES, ''));
  return plain.length > MAX_LINE_CHARACTERS ? `${plain.slice(0, MAX_LINE_CHARACTERS)}…` : plain;
}

export class StderrTail {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #secrets: readonly string[];
  readonly #splitter: LineSplitter;
  readonly #lines: string[] = [];
  #second = Number.NEGATIVE_INFINITY;
  #inSecond = 0;
  #suppressed = 0;

  /** `secrets` are values that never appear in a kept or logged line. */
  constructor(log: Log, clock: Clock, secrets: readonly string[]) {
    this.#log = log;
    this.#clock = clock;
    this.#secrets = secrets;
    this.#splitter = new LineSplitter(MAX_LINE_BYTES, {
      onLine: (line) => this.#add(line.toString('utf8')),
      onTooLong: (head, _tail, length) => this.#add(`${head.toString('utf8')}… (${length} bytes)`),
    });
  }

  /** The last lines, oldest first. */
  get lines(): readonly string[] {
    return this.#lines;
  }

  push(chunk: Buffer): void {
    this.#splitter.push(chunk);
  }

  end(): void {
    this.#splitter.end();
    this.#reportSuppressed();
  }

  /** One line of the child as it may be shown: plain text without the secrets it was given. */
  shown(raw: string): string {
    let line = raw;
    // Before the cut, which would leave the beginning of one.
    for (const secret of this.#secrets) line = line.replaceAll(secret, '***');
    return plainText(line);
  }

  #add(raw: string): void {
    const line = this.shown(raw);
    if (line.trim() === '') return;
    this.#lines.push(line);
    if (this.#lines.length > KEPT_LINES) this.#lines.shift();
    const now = this.#clock.monotonic();
    if (now - this.#second >= 1000) {
      this.#reportSuppressed();
      this.#second = now;
      this.#inSecond = 0;
    }
    if (++this.#inSecond <= LINES_PER_SECOND) this.#log.info({ stream: 'stderr' }, line);
    else this.#suppressed++;
  }

  #reportSuppressed(): void {
    if (this.#suppressed === 0) return;
    this.#log.warn({ stream: 'stderr', lines: this.#suppressed }, 'Lines on stderr were left out of the log');
    this.#suppressed = 0;
  }
}

/** Lines that end the output of a dying program and say nothing: stack frames, Node's version, the runner's remarks. */
const SAYS_NOTHING =
  /^\s*at |^Node\.js v\d|^npm (warn|notice)\b|complete log of this run|^npm error 404 Note that|^[\s^~{}()[\],;]*$/i;
const SAYS_WHAT = /\b(\w*error|\w*exception|fatal|panic|failed|missing|required|denied|cannot|invalid)\b|not found/i;

/** The line of the last ones that says why the program died: the last that speaks of an error, else the last at all. */
export function tellingLine(lines: readonly string[]): string | undefined {
  const candidates = lines.filter((line) => !SAYS_NOTHING.test(line));
  return (candidates.findLast((line) => SAYS_WHAT.test(line)) ?? candidates.at(-1) ?? lines.at(-1))?.trim();
}
