/** Which eras a server speaks, as far as is known: a property of the server, remembered until it fails. */
import type { Scope } from '../protocol/peer.ts';
import type { Era } from '../protocol/versions.ts';
import type { ServerOptions } from './options.ts';

export class Eras {
  readonly #protocol: ServerOptions['protocol'];
  #modern: boolean | undefined;
  #legacy: boolean | undefined;

  constructor(protocol: ServerOptions['protocol']) {
    this.#protocol = protocol;
    this.forget();
  }

  get pinned(): boolean {
    return this.#protocol !== 'auto';
  }

  /** Known to be spoken. */
  get spoken(): Era[] {
    const eras: Era[] = [];
    if (this.#modern === true) eras.push('modern');
    if (this.#legacy === true) eras.push('legacy');
    return eras;
  }

  /** The era to speak with this caller; undefined when nothing is known yet. */
  of(scope: Scope): Era | undefined {
    if (this.#modern === undefined) return undefined;
    if (!this.#modern) return 'legacy';
    if (this.#legacy === false) return 'modern';
    // Speaks modern, and legacy perhaps too: then the caller's era, which the first legacy caller finds out.
    return scope.era === 'legacy' && scope.purpose === 'call' ? 'legacy' : 'modern';
  }

  /** A connection stands. `detected`: it was not asked for this era; the modern one is tried first then. */
  found(era: Era, detected: boolean): void {
    if (this.pinned) return;
    if (detected) {
      this.#modern = false;
      this.#legacy = undefined;
    }
    if (era === 'modern') this.#modern = true;
    else this.#legacy = true;
  }

  /** True when only this era is left: a refusal of it says that the server speaks none. */
  isLast(era: Era): boolean {
    return !this.pinned && (era === 'modern' ? this.#legacy : this.#modern) === false;
  }

  /** The server answered and does not speak this era. When it speaks none, all is forgotten. */
  wrong(era: Era): void {
    if (era === 'modern') this.#modern = false;
    else this.#legacy = false;
    if (this.#modern === false && this.#legacy === false) this.forget();
  }

  /** The server failed: it may come back as another version. */
  forget(): void {
    this.#modern = this.pinned ? this.#protocol === 'modern' : undefined;
    this.#legacy = this.pinned ? this.#protocol !== 'modern' : undefined;
  }
}
