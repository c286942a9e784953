import type {
  BridgeClient,
  BridgeFamily,
  BridgeItem,
  BridgeItemKind,
  BridgeRecords,
  BridgeUse,
  FoundBridgeItem,
} from '../core/bridge-records.ts';
import { TollgateError } from '../core/errors.ts';

interface KeptItem extends BridgeItem {
  usedAt: number | undefined;
  usedBy: string | undefined;
}

interface KeptClient extends BridgeClient {
  expiresAt: number;
  used: boolean;
}

/** Tokens whose owners must sign in again when there are more. */
const MAX_ITEMS = 100_000;

/** Records of a gateway that keeps nothing: who signed in does so again after a restart. */
export class MemoryRecords implements BridgeRecords {
  readonly #clients = new Map<string, KeptClient>();
  readonly #items = new Map<string, KeptItem>();
  #version = 0;
  readonly #families = new Map<string, BridgeFamily & { endedAt: number | undefined }>();

  async register(client: BridgeClient, most: number): Promise<boolean> {
    if (this.#clients.size >= most) {
      const unused = this.#clients.values().find(({ used }) => !used);
      if (unused === undefined) return false;
      this.#clients.delete(unused.id);
    }
    this.#clients.set(client.id, { ...client, used: false });
    return true;
  }

  async client(id: string, at: number): Promise<BridgeClient | undefined> {
    const known = this.#clients.get(id);
    if (known === undefined || known.expiresAt <= at) return undefined;
    return { id, json: known.json, at: known.at, expiresAt: known.expiresAt };
  }

  async clientUsed(id: string, _at: number, expiresAt: number): Promise<void> {
    const known = this.#clients.get(id);
    if (known === undefined) return;
    known.used = true;
    known.expiresAt = expiresAt;
  }

  async put(item: BridgeItem, most: number): Promise<boolean> {
    let waiting = 0;
    for (const other of this.#items.values())
      if (other.kind === item.kind && other.usedAt === undefined && other.expiresAt > item.at) waiting++;
    if (waiting >= most) return false;
    this.#add(item);
    return true;
  }

  async find(digest: string, kind: BridgeItemKind): Promise<FoundBridgeItem | undefined> {
    const known = this.#items.get(digest);
    if (known?.kind !== kind) return undefined;
    const { usedBy: _, ...item } = known;
    return { ...item, ended: this.#ended(known.family) };
  }

  async use({ digest, by, at, family, items }: BridgeUse): Promise<boolean> {
    const known = this.#items.get(digest);
    if (known === undefined || this.#ended(known.family)) return false;
    if (known.usedBy !== undefined && known.usedBy !== by) return false;
    known.usedAt = at;
    known.usedBy = by;
    if (family !== undefined) {
      this.#families.set(family.id, { ...family, endedAt: this.#families.get(family.id)?.endedAt });
    }
    for (const item of items) this.#add(item);
    return true;
  }

  async end(id: string, at: number): Promise<boolean> {
    const family = this.#families.get(id);
    if (family === undefined || family.endedAt !== undefined) return false;
    family.endedAt = at;
    this.#version++;
    return true;
  }

  async families(principal: string | undefined, at: number, most: number): Promise<readonly BridgeFamily[]> {
    return [...this.#families.values()]
      .filter((one) => one.endedAt === undefined && one.expiresAt > at)
      .filter((one) => principal === undefined || one.principal === principal)
      .toSorted((a, b) => b.at - a.at)
      .slice(0, most)
      .map(({ endedAt: _, ...family }) => family);
  }

  async version(): Promise<string> {
    return String(this.#version);
  }

  async ended(since: number, most: number): Promise<readonly string[]> {
    const ended = [...this.#families.values()].filter(({ endedAt }) => endedAt !== undefined && endedAt >= since);
    return ended
      .sort((one, other) => other.endedAt! - one.endedAt!)
      .slice(0, most)
      .map(({ id }) => id);
  }

  async prune(before: number): Promise<number> {
    let gone = 0;
    for (const records of [this.#clients, this.#items, this.#families] as Map<string, { expiresAt: number }>[]) {
      for (const [id, { expiresAt }] of records) {
        if (expiresAt < before && records.delete(id)) gone++;
      }
    }
    return gone;
  }

  #add(item: BridgeItem): void {
    if (!/^[0-9a-f]{64}$/.test(item.digest)) throw new TollgateError('invalid_params', 'A digest has 64 digits');
    if (this.#items.has(item.digest)) return;
    if (this.#items.size >= MAX_ITEMS) {
      // Anybody can begin sign-ins without end: they push out each other, and never the tokens of who is in.
      const oldest = this.#items.values().find(({ kind }) => kind === 'state') ?? this.#items.values().next().value!;
      this.#items.delete(oldest.digest);
    }
    this.#items.set(item.digest, { ...item, usedAt: undefined, usedBy: undefined });
  }

  #ended(family: string | undefined): boolean {
    return family !== undefined && this.#families.get(family)?.endedAt !== undefined;
  }
}
