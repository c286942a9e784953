/**
 * Which definition of each tool, prompt and template was approved, by digest, and what stands of those that servers
 * offer now. An approval is of one digest from one source, never of a name: what changes afterwards is asked about
 * again (tool poisoning, rug pulls; Cursor CVE-2025-54136).
 */
import { createHash } from 'node:crypto';
import type { ServerTrust } from './options.ts';

export type DefinitionKind = 'tool' | 'prompt' | 'template';

/** A definition as its server gave it. */
export interface Definition {
  readonly kind: DefinitionKind;
  /** The server's own name of it; of a template its URI. */
  readonly name: string;
  /** SHA-256 of `text`, 64 hexadecimal digits. */
  readonly digest: string;
  /** The whole definition as canonical JSON (RFC 8785). */
  readonly text: string;
}

/** What was approved. */
export interface Pin {
  /** See `pinId`. */
  readonly id: string;
  readonly server: string;
  readonly kind: DefinitionKind;
  readonly name: string;
  readonly digest: string;
  /** Digest of the program or address that offered it. */
  readonly source: string;
  /** Principal, or `policy` where the configuration allows it unasked. */
  readonly by: string;
  /** Wall milliseconds. */
  readonly at: number;
}

export type TrustState = 'approved' | 'new' | 'changed';

/** Several definitions of one list that nobody has approved. */
export interface TrustNotice {
  readonly server: string;
  readonly kind: DefinitionKind;
  readonly state: 'new' | 'changed';
  readonly action: 'warn' | 'block';
  readonly count: number;
  /** The first 20. */
  readonly definitions: readonly { readonly name: string; readonly digest: string }[];
}

export interface PinEvents {
  /** Approved by policy, in force already; to be kept. */
  pinned(pins: readonly (Pin & { readonly text: string })[]): void;
  noticed(notice: TrustNotice): void;
  now(): number;
}

/** By whom what the policy allows is approved. */
export const BY_POLICY = 'policy';
/** Pins of one server. Names that go stay pinned, so a server could otherwise fill the storage with new ones. */
const MAX_PINS = 10_000;
const MAX_TOLD = 20;

/** A definition that a server offers, and what stands of it now. */
export class Sighting {
  readonly server: string;
  readonly source: string;
  readonly definition: Definition;
  readonly id: string;
  state: TrustState = 'new';
  /** True: it is neither listed nor called. */
  blocked = true;

  constructor(server: string, source: string, definition: Definition) {
    this.server = server;
    this.source = source;
    this.definition = definition;
    this.id = pinId(server, definition.kind, definition.name);
  }
}

export class PinBook {
  readonly #events: PinEvents;
  readonly #pins = new Map<string, Pin>();
  readonly #perServer = new Map<string, number>();
  readonly #watches = new Set<Watch>();
  #known: boolean;

  /** `known`: false while the pins that are kept have not been read; what is `block` is blocked until then. */
  constructor(events: PinEvents, known: boolean) {
    this.#events = events;
    this.#known = known;
  }

  /** Pins as they are kept now; they win over what this process had. */
  load(pins: Iterable<Pin>): void {
    for (const pin of pins) this.#put(pin);
    this.#known = true;
    this.#review();
  }

  pin(id: string): Pin | undefined {
    return this.#pins.get(id);
  }

  /** Follows the definitions of one server from now on. */
  watch(server: string, source: string, policy: ServerTrust): Watch {
    const watch = new Watch(server, source, policy, {
      judge: (sightings) => this.#judge(watch, sightings),
      close: () => this.#watches.delete(watch),
    });
    this.#watches.add(watch);
    return watch;
  }

  /** Policies of another configuration. */
  configure(policyOf: (server: string) => ServerTrust): void {
    for (const watch of this.#watches) watch.policy = policyOf(watch.server);
    this.#review();
  }

  /** What servers offer now, each digest once. */
  sightings(): Sighting[] {
    const found = new Map<string, Sighting>();
    for (const watch of this.#watches) {
      for (const sighting of watch.sightings()) {
        found.set(`${sighting.id} ${sighting.definition.digest} ${sighting.source}`, sighting);
      }
    }
    return [...found.values()];
  }

  /** What is offered of this digest now; undefined: it is not offered any more, or never was. */
  find(server: string, kind: DefinitionKind, name: string, digest: string): Sighting | undefined {
    for (const watch of this.#watches) {
      if (watch.server !== server) continue;
      const sighting = watch.sighting(kind, name);
      if (sighting?.definition.digest === digest) return sighting;
    }
    return undefined;
  }

  /** In force when this returns. */
  approve(pins: readonly Pin[]): void {
    for (const pin of pins) this.#put(pin);
    this.#review();
  }

  #put(pin: Pin): void {
    if (!this.#pins.has(pin.id)) this.#perServer.set(pin.server, (this.#perServer.get(pin.server) ?? 0) + 1);
    this.#pins.set(pin.id, pin);
  }

  /** What stands of everything, anew; who shows what changed is told. */
  #review(): void {
    for (const watch of this.#watches) {
      const before = watch.sightings().map(({ blocked }) => blocked);
      this.#judge(watch, watch.sightings());
      if (watch.sightings().some(({ blocked }, i) => blocked !== before[i])) watch.changed();
    }
  }

  #judge(watch: Watch, sightings: readonly Sighting[]): void {
    const allowed: (Pin & { readonly text: string })[] = [];
    for (const sighting of sightings) {
      const { id, server, source, definition } = sighting;
      const pin = this.#pins.get(id);
      const state = pin === undefined ? 'new' : isOf(pin, sighting) ? 'approved' : 'changed';
      let policy = state === 'approved' ? 'allow' : watch.policy[state];
      // Nobody knows yet what was approved: whoever wants changes blocked would let one pass as new.
      if (!this.#known) policy = watch.strict ? 'block' : 'allow';
      sighting.state = state;
      sighting.blocked = policy === 'block';
      if (state === 'approved' || policy !== 'allow' || !this.#known) continue;
      if (state === 'new' && (this.#perServer.get(server) ?? 0) >= MAX_PINS) {
        sighting.blocked = watch.policy.changed === 'block';
        continue;
      }
      const { kind, name, digest, text } = definition;
      const made: Pin = { id, server, kind, name, digest, source, by: BY_POLICY, at: this.#events.now() };
      this.#put(made);
      sighting.state = 'approved';
      allowed.push({ ...made, text });
    }
    if (allowed.length > 0) this.#events.pinned(allowed);
    if (this.#known) this.#tell(watch, sightings);
  }

  /** Each definition once: not again for every reading of the list. */
  #tell(watch: Watch, sightings: readonly Sighting[]): void {
    for (const state of ['new', 'changed'] as const) {
      const action = watch.policy[state];
      if (action === 'allow') continue;
      const news = sightings.filter((sighting) => sighting.state === state && watch.untold(sighting));
      for (const kind of ['tool', 'prompt', 'template'] as const) {
        const of = news.filter(({ definition }) => definition.kind === kind);
        if (of.length === 0) continue;
        const definitions = of.slice(0, MAX_TOLD).map(({ definition: { name, digest } }) => ({ name, digest }));
        this.#events.noticed({ server: watch.server, kind, state, action, count: of.length, definitions });
      }
    }
  }
}

/** The definitions of one server, as its lists are read. */
export class Watch {
  readonly server: string;
  readonly source: string;
  policy: ServerTrust;
  readonly #book: { judge(sightings: readonly Sighting[]): void; close(): void };
  readonly #present: Record<DefinitionKind, ReadonlyMap<string, Sighting>> = {
    tool: new Map(),
    prompt: new Map(),
    template: new Map(),
  };
  readonly #told = new WeakMap<Sighting, string>();
  readonly #listeners = new Set<() => void>();

  constructor(
    server: string,
    source: string,
    policy: ServerTrust,
    book: { judge(sightings: readonly Sighting[]): void; close(): void },
  ) {
    this.server = server;
    this.source = source;
    this.policy = policy;
    this.#book = book;
  }

  /** True: changes are blocked, so an announced one must be read before the next call. */
  get strict(): boolean {
    return this.policy.changed === 'block';
  }

  /** Judges a whole list that was read, in place of the one before. The same definition keeps its sighting. */
  judge(kind: DefinitionKind, definitions: readonly Definition[]): ReadonlyMap<string, Sighting> {
    const before = this.#present[kind];
    const now = new Map<string, Sighting>();
    const fresh: Sighting[] = [];
    for (const definition of definitions) {
      const known = before.get(definition.name);
      if (known?.definition.digest === definition.digest) now.set(definition.name, known);
      else {
        const made = new Sighting(this.server, this.source, definition);
        now.set(definition.name, made);
        fresh.push(made);
      }
    }
    this.#present[kind] = now;
    this.#book.judge(fresh);
    // Who still holds the entry of the list before must not call what the server has replaced.
    for (const made of fresh) {
      const old = before.get(made.definition.name);
      if (old !== undefined && made.blocked) old.blocked = true;
    }
    return now;
  }

  sighting(kind: DefinitionKind, name: string): Sighting | undefined {
    return this.#present[kind].get(name);
  }

  sightings(): Sighting[] {
    return Object.values(this.#present).flatMap((of) => [...of.values()]);
  }

  /** True once for each state of a sighting under each policy. */
  untold(sighting: Sighting): boolean {
    const told = `${sighting.state} ${sighting.blocked}`;
    if (this.#told.get(sighting) === told) return false;
    this.#told.set(sighting, told);
    return true;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  changed(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  close(): void {
    this.#listeners.clear();
    this.#book.close();
  }
}

/** Under which a pin is kept: names have any length and any characters. */
export function pinId(server: string, kind: DefinitionKind, name: string): string {
  return createHash('sha256')
    .update(JSON.stringify([server, kind, name]))
    .digest('hex');
}

function isOf(pin: Pin, { definition, source }: Sighting): boolean {
  return pin.digest === definition.digest && pin.source === source;
}
