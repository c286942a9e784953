/**
 * The pins of a running gateway: in memory for every list and call, in storage for good, followed by the other gateways
 * of one storage. What is new or changed is told to the log, the metrics and the webhooks, once.
 */
import { createHash } from 'node:crypto';
import type { Item, Kind } from '../catalog/items.ts';
import type { ListTrust } from '../catalog/trust.ts';
import { canonicalJson } from '../core/canonical-json.ts';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { randomId } from '../core/ids.ts';
import type { Log } from '../core/log.ts';
import type { Server } from '../protocol/peer.ts';
import { everything } from '../store/everything.ts';
import type { Storage } from '../store/storage.ts';
import { difference } from '../trust/difference.ts';
import { policyOf, type ServerTrust, type TrustOptions } from '../trust/options.ts';
import {
  type DefinitionKind,
  type Pin,
  PinBook,
  type Sighting,
  type TrustNotice,
  type TrustState,
} from '../trust/pins.ts';
import type { ServerOptions } from '../upstream/options.ts';
import { Follower } from './follower.ts';

const VERSION = 'trust_version';
/** Characters of a definition that are kept to compare with; of longer ones only the digest. */
const MAX_TEXT = 64 * 1024;

interface TrustDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** Undefined: nothing lasts. */
  readonly storage: Storage | undefined;
  /** True: other gateways change the same storage. */
  readonly shared: boolean;
}

/** One definition for `trust list` and the control API. */
export interface DefinitionView {
  readonly server: string;
  readonly kind: DefinitionKind;
  readonly name: string;
  readonly digest: string;
  readonly state: TrustState;
  /** True: it is neither listed nor called. */
  readonly blocked: boolean;
  /** What was approved, where anything was. */
  readonly approved: { readonly digest: string; readonly by: string; readonly at: string } | undefined;
}

/** One digest of one definition, as an approval names it. */
export interface DefinitionRef {
  readonly server: string;
  readonly kind: DefinitionKind;
  readonly name: string;
  readonly digest: string;
}

export interface DefinitionDifference extends DefinitionView {
  /** `-` what was approved, `+` what is offered; safe for a terminal. */
  readonly lines: readonly string[];
}

type KeptPin = Pin & { readonly definition: string };

export class Trust {
  readonly #deps: TrustDeps;
  readonly #book: PinBook;
  readonly #sources = new WeakMap<Server, { readonly source: string; readonly policy: ServerTrust }>();
  /** Definitions that were approved, where no storage keeps them; by pin. */
  readonly #texts = new Map<string, string>();
  readonly #follower: Follower;
  #unwritten: KeptPin[] = [];
  #writing = false;
  #version: string | undefined;
  /** Beside the log: metrics and webhooks. */
  onNotice: (notice: TrustNotice & { readonly at: number }) => void = () => undefined;

  /** Reads what is kept; with a storage that is away it goes on trying, and what is to be blocked is blocked meanwhile. */
  static async open(deps: TrustDeps): Promise<Trust> {
    const trust = new Trust(deps);
    if (deps.storage === undefined) return trust;
    const { storage, shared } = deps;
    const read = await trust.#read(storage);
    if (!read || shared) void trust.#follower.until(async () => (await trust.#read(storage)) && !shared);
    return trust;
  }

  constructor(deps: TrustDeps) {
    this.#deps = deps;
    this.#follower = new Follower(deps.log, 'approved definitions cannot be read');
    this.#book = new PinBook(
      {
        now: () => Math.floor(deps.clock.wall()),
        pinned: (pins) => this.#keep(pins.map(({ text, ...pin }) => ({ ...pin, definition: kept(text) }))),
        noticed: (notice) => this.#notice(notice),
      },
      deps.storage === undefined,
    );
  }

  /** Says what a server is and which policy it has, before its lists are read. */
  introduce(server: Server, options: ServerOptions, trust: TrustOptions): void {
    this.#sources.set(server, { source: sourceOf(options), policy: policyOf(trust, options.name) });
  }

  /** For the catalog: who judges the lists of a server. */
  readonly ofServer = (server: Server): ListTrust => {
    const known = this.#sources.get(server);
    if (known === undefined) throw new Error(`${server.name} was not introduced`);
    const watch = this.#book.watch(server.name, known.source, known.policy);
    return {
      get strict() {
        return watch.strict;
      },
      judge(kind: Kind, items: readonly Item[]) {
        if (kind === 'resources') return undefined;
        const of = KINDS[kind];
        return watch.judge(
          of,
          items.map(({ name, digest, definition }) => ({ kind: of, name, digest, text: definition })),
        );
      },
      onChange: (listener) => watch.onChange(listener),
      close: () => watch.close(),
    };
  };

  /** A configuration is in force. */
  configure(options: TrustOptions): void {
    this.#book.configure((server) => policyOf(options, server));
  }

  /** What servers offer now, in the order of server, kind and name. */
  list(server?: string): DefinitionView[] {
    return this.#book
      .sightings()
      .filter((sighting) => server === undefined || sighting.server === server)
      .map((sighting) => this.#view(sighting))
      .toSorted((a, b) => compare(a.server, b.server) || compare(a.kind, b.kind) || compare(a.name, b.name));
  }

  /** How many are blocked. */
  get blocked(): number {
    return this.#book.sightings().filter(({ blocked }) => blocked).length;
  }

  /** What differs of those that nobody has approved; of one that was never approved, all of it. */
  async differences(server: string, name?: string): Promise<DefinitionDifference[]> {
    const found: DefinitionDifference[] = [];
    for (const view of this.list(server)) {
      if (name === undefined ? view.state === 'approved' : view.name !== name) continue;
      const sighting = this.#book.find(view.server, view.kind, view.name, view.digest);
      if (sighting !== undefined) found.push({ ...view, lines: await this.#difference(sighting) });
    }
    return found;
  }

  /**
   * Approves digests, all or none: a definition that its server has replaced meanwhile is not approved in its place.
   * Stored before it is in force, with who did it. Rejects with `invalid_params` (409) for what is not offered now.
   */
  async approve(refs: readonly DefinitionRef[], by: string): Promise<void> {
    const at = Math.floor(this.#deps.clock.wall());
    const pins = refs.map((ref): KeptPin => {
      const sighting = this.#book.find(ref.server, ref.kind, ref.name, ref.digest);
      if (sighting === undefined) {
        throw new TollgateError(
          'invalid_params',
          `${ref.server} does not offer the ${ref.kind} ${ref.name} with the digest ${ref.digest} now. Nothing was approved; look again with: tollgate trust diff ${ref.server}`,
          { http: 409 },
        );
      }
      const { id, source, definition } = sighting;
      const { server, kind, name, digest } = ref;
      return { id, server, kind, name, digest, source, by, at, definition: kept(definition.text) };
    });
    const { storage, log } = this.#deps;
    if (storage === undefined) for (const { id, definition } of pins) this.#texts.set(id, definition);
    else {
      await storage.pins.approve(pins);
      const details = JSON.stringify(pins.map(({ server, kind, name, digest }) => ({ server, kind, name, digest })));
      await storage.actions.append({ id: randomId(16), at, by, action: 'trust', details });
      await storage.settings.set(VERSION, randomId(12));
    }
    this.#book.approve(pins);
    for (const { server, kind, name, digest } of pins)
      log.info({ server, kind, name, digest, by }, 'a definition was approved');
  }

  close(): void {
    this.#follower.close();
  }

  async #difference({ id, definition, source }: Sighting): Promise<string[]> {
    const pin = this.#book.pin(id);
    if (pin === undefined) return difference(undefined, definition.text);
    const lines: string[] = [];
    if (pin.source !== source)
      lines.push('The server is started by another command, or has another address, than when this was approved.');
    if (pin.digest === definition.digest) return lines;
    const { storage } = this.#deps;
    const before = storage === undefined ? this.#texts.get(id) : await storage.pins.definition(id);
    if (before === undefined || before === '') {
      return [
        ...lines,
        'What was approved was too large to be kept. What is offered now:',
        ...difference(undefined, definition.text),
      ];
    }
    const found = difference(before, definition.text);
    return [...lines, ...(found.length > 0 ? found : ['Only numbers differ that JavaScript cannot tell apart.'])];
  }

  #view(sighting: Sighting): DefinitionView {
    const { server, state, blocked, definition, id } = sighting;
    const pin = this.#book.pin(id);
    return {
      server,
      kind: definition.kind,
      name: definition.name,
      digest: definition.digest,
      state,
      blocked,
      approved: pin && { digest: pin.digest, by: pin.by, at: new Date(pin.at).toISOString() },
    };
  }

  #notice(notice: TrustNotice): void {
    const { server, kind, state, action, count } = notice;
    const what = state === 'new' ? 'nobody has approved' : 'changed since they were approved';
    const then = action === 'block' ? 'They are neither listed nor called' : 'They are served';
    this.#deps.log.warn(
      notice,
      `${server}: ${count} definition${count === 1 ? '' : 's'} (${kind}) that ${what}. ${then}; see: tollgate trust diff ${server}`,
    );
    this.onNotice({ ...notice, at: Math.floor(this.#deps.clock.wall()) });
  }

  #keep(pins: readonly KeptPin[]): void {
    if (this.#deps.storage === undefined) {
      for (const { id, definition } of pins) this.#texts.set(id, definition);
      return;
    }
    this.#unwritten.push(...pins);
    if (!this.#writing) void this.#write(this.#deps.storage);
  }

  /** What other gateways pinned before wins: the first one seen is the one that counts. */
  async #write(storage: Storage): Promise<void> {
    this.#writing = true;
    // All lists that are read in one turn are one write.
    await Promise.resolve();
    while (this.#unwritten.length > 0 && !this.#follower.closed) {
      const pins = this.#unwritten;
      this.#unwritten = [];
      try {
        // What the policy allows to change replaces what the policy had allowed.
        const changed = pins.filter(({ id }) => this.#stored.has(id));
        if (changed.length > 0) await storage.pins.approve(changed);
        const now = await storage.pins.add(pins.filter(({ id }) => !this.#stored.has(id)));
        for (const { id } of pins) this.#stored.add(id);
        if (this.#deps.shared) await storage.settings.set(VERSION, randomId(12));
        this.#book.load(now.filter((pin) => this.#unwritten.every(({ id }) => id !== pin.id)));
      } catch (thrown) {
        const error = TollgateError.from(thrown);
        if (error.code !== 'storage_unavailable') {
          this.#deps.log.error({ err: error.cause ?? error }, 'definitions that were seen cannot be kept');
        }
        this.#unwritten = [...pins, ...this.#unwritten];
        await this.#follower.pause();
      }
    }
    this.#writing = false;
  }

  /** Pins that storage has. */
  readonly #stored = new Set<string>();

  /** False: the storage is away; what was read before stays in force. */
  #read(storage: Storage): Promise<boolean> {
    return this.#follower.look(async () => {
      const version = (await storage.settings.get(VERSION)) ?? '';
      if (version === this.#version) return;
      const pins = await everything((part) => storage.pins.all(part));
      for (const { id } of pins) this.#stored.add(id);
      this.#book.load(pins);
      this.#version = version;
    });
  }
}

const KINDS: Readonly<Record<Exclude<Kind, 'resources'>, DefinitionKind>> = {
  tools: 'tool',
  prompts: 'prompt',
  templates: 'template',
};

/**
 * Who offers a definition: the program with its arguments, or the address. Approvals hold for one of them, so that a
 * configuration whose command was swapped under the same name is asked about again. Without query and fragment of a
 * URL, which may hold secrets, and without `env`, which does.
 */
function sourceOf({ target }: ServerOptions): string {
  const what =
    target.kind === 'stdio'
      ? { command: target.command, args: target.args }
      : { url: target.url.origin + target.url.pathname };
  return createHash('sha256').update(canonicalJson(what)).digest('hex');
}

function kept(text: string): string {
  return text.length <= MAX_TEXT ? text : '';
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
