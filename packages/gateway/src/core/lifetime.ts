import type { TollgateError } from './errors.ts';

type EndListener = (reason: TollgateError) => void;

/**
 * The life of one call, session or stream: ends once, early (`end`, with the reason) or normally (`release`).
 * One AbortSignal per call is the rule; building it costs more than the rest of the object,
 * so it is made only when something asks for `signal`.
 */
export class Lifetime {
  #reason: TollgateError | undefined;
  #released = false;
  /** Most have one listener; a set for it would cost more than the rest of the object. */
  #listener: EndListener | undefined;
  #more: Set<EndListener> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #controller: AbortController | undefined;

  /** True once ended or released. */
  get over(): boolean {
    return this.#released || this.#reason !== undefined;
  }

  /** Why it ended early; undefined while running and after a normal release. */
  get reason(): TollgateError | undefined {
    return this.#reason;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#reason !== undefined) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  /** Ends with `deadline_exceeded` after so many milliseconds, unless released before. */
  deadline(ms: number, reason: () => TollgateError): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.end(reason()), ms);
  }

  /** Calls back once when it ends early; at once when it has. Returns the way to stop listening. */
  onEnd(listener: EndListener): () => void {
    if (this.#reason !== undefined) {
      listener(this.#reason);
      return noop;
    }
    if (this.#released) return noop;
    if (this.#listener === undefined) this.#listener = listener;
    else {
      this.#more ??= new Set();
      this.#more.add(listener);
    }
    return () => {
      if (this.#listener === listener) this.#listener = undefined;
      else this.#more?.delete(listener);
    };
  }

  /** Ends early. The first reason wins; later calls do nothing. */
  end(reason: TollgateError): void {
    if (this.over) return;
    this.#reason = reason;
    clearTimeout(this.#timer);
    const listener = this.#listener;
    const more = this.#more;
    this.#listener = undefined;
    this.#more = undefined;
    this.#controller?.abort(reason);
    listener?.(reason);
    if (more !== undefined) for (const other of more) other(reason);
  }

  /** Ends normally: timers and listeners are dropped, nobody is called. */
  release(): void {
    if (this.over) return;
    this.#released = true;
    clearTimeout(this.#timer);
    this.#listener = undefined;
    this.#more = undefined;
  }
}

function noop(): void {}
