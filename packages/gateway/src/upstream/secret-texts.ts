/**
 * Headers and environment of a server with secrets of the vault in them, put in place at the last moment: for a request
 * over HTTP, for the start of a process. What was read is used for a few seconds, so that a call costs no read.
 */
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import {
  fillReferences,
  formatReference,
  hasReference,
  referencesIn,
  type SecretReference,
} from '../core/secret-reference.ts';

/** For whom a secret is used. */
export interface SecretUse {
  readonly server: string;
  /** Undefined: the gateway's own connection, which reads the lists. */
  readonly principal: Principal | undefined;
  readonly as: 'header' | 'variable';
}

export interface SecretSource {
  /**
   * The value now; undefined: there is none, and nobody is at fault (`other`, or a user's secret where no user is).
   * Rejects with `secret_missing`, saying how to set it, and with `vault_unavailable`.
   * `other`: the version before, or the backup, for when the server has refused the current one.
   */
  value(reference: SecretReference, use: SecretUse, which: 'current' | 'other'): Promise<string | undefined>;
  /** Grows whenever a secret changes in this process. */
  readonly revision: number;
}

/** Another process may have changed a secret: after so long it is read again. */
const MAX_AGE = 10_000;
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

const NO_VAULT: SecretSource = {
  revision: 0,
  value: async (reference, { server }) => {
    throw new TollgateError(
      'secret_missing',
      `${server}: ${formatReference(reference)} is in the vault of the running gateway, which is not asked here`,
    );
  },
};

interface Filled {
  readonly revision: number;
  readonly until: number;
  /** By template; undefined: leave the header or variable out. */
  readonly current: ReadonlyMap<string, string | undefined>;
  /** Undefined: there is nothing else to try. */
  readonly other: ReadonlyMap<string, string | undefined> | undefined;
  /** What the current texts were filled with. */
  readonly values: readonly string[];
}

export class SecretTexts {
  readonly #templates: readonly string[];
  readonly #source: SecretSource;
  readonly #use: SecretUse;
  readonly #clock: Clock;
  #filled: Filled | undefined;
  #loading: Promise<void> | undefined;

  /** Undefined when none of the texts has a reference. */
  static of(texts: Iterable<string>, source: SecretSource | undefined, use: SecretUse, clock: Clock) {
    const templates = [...texts].filter(hasReference);
    if (templates.length === 0) return undefined;
    return new SecretTexts(templates, source ?? NO_VAULT, use, clock);
  }

  private constructor(templates: readonly string[], source: SecretSource, use: SecretUse, clock: Clock) {
    this.#templates = templates;
    this.#source = source;
    this.#use = use;
    this.#clock = clock;
  }

  /** Whether what was read may still be used. */
  get fresh(): boolean {
    const filled = this.#filled;
    return filled !== undefined && filled.revision === this.#source.revision && filled.until > this.#clock.monotonic();
  }

  /** There is another value to try after the server has refused this one. */
  get hasOther(): boolean {
    return this.#filled?.other !== undefined;
  }

  /** Reads the secrets anew where it is time. Rejects as `SecretSource.value`. */
  async load(): Promise<void> {
    if (this.fresh) return;
    this.#loading ??= this.#load().finally(() => {
      this.#loading = undefined;
    });
    await this.#loading;
  }

  /** The secrets themselves, without the texts round them. After `load`. */
  get values(): readonly string[] {
    return this.#filled!.values;
  }

  /** A flat list of names and values with the secrets in place. After `load`. */
  headers(flat: readonly string[], which: 'current' | 'other'): string[] {
    const values = (which === 'other' ? this.#filled?.other : undefined) ?? this.#filled!.current;
    const out: string[] = [];
    for (let i = 0; i < flat.length; i += 2) {
      const value = flat[i + 1]!;
      const filled = values.has(value) ? values.get(value) : value;
      if (filled !== undefined) out.push(flat[i]!, filled);
    }
    return out;
  }

  /** The environment with the secrets in place. After `load`. */
  environment(declared: Readonly<Record<string, string>>): Record<string, string> {
    const values = this.#filled!.current;
    return Object.fromEntries(
      Object.entries(declared).flatMap(([name, value]): [string, string][] => {
        const filled = values.has(value) ? values.get(value) : value;
        return filled === undefined ? [] : [[name, filled]];
      }),
    );
  }

  async #load(): Promise<void> {
    const { revision } = this.#source;
    const until = this.#clock.monotonic() + MAX_AGE;
    const read = new Set<string>();
    const current = await this.#fill('current', read);
    let other: ReadonlyMap<string, string | undefined> | undefined = await this.#fill('other', new Set());
    if (![...other].some(([template, value]) => value !== undefined && value !== current.get(template))) {
      other = undefined;
    }
    this.#filled = { revision, until, current, other, values: [...read] };
  }

  async #fill(which: 'current' | 'other', read: Set<string>): Promise<Map<string, string | undefined>> {
    const filled = new Map<string, string | undefined>();
    for (const template of this.#templates) {
      const values = new Map<string, string | undefined>();
      for (const reference of referencesIn(template)) {
        const value = await this.#source.value(reference, this.#use, which);
        const fits =
          value === undefined || (this.#use.as === 'header' ? HEADER_VALUE.test(value) : !value.includes('\0'));
        if (!fits) {
          throw new TollgateError(
            'secret_missing',
            `${this.#use.server}: the value of ${formatReference(reference)} has characters that no ${this.#use.as} can carry; set it anew`,
          );
        }
        values.set(formatReference(reference), value);
        if (value !== undefined) read.add(value);
      }
      const whole = [...values.values()].every((value) => value !== undefined);
      filled.set(template, whole ? fillReferences(template, (one) => values.get(formatReference(one))!) : undefined);
    }
    return filled;
  }
}
