import { TollgateError } from '../core/errors.ts';
import type { StoredHead, VaultKey, VaultRecords, VaultVersion } from '../core/vault-records.ts';

/** Records that end with the process: of a gateway without a data folder. Same contract as the storage's. */
export function memoryRecords(): VaultRecords {
  const keys = new Map<number, VaultKey>();
  const heads = new Map<string, StoredHead>();
  const versions = new Map<string, VaultVersion>();
  const leases = new Map<string, { readonly holder: string; readonly until: number }>();
  const idOf = (slot: string, version: number) => `${slot}/${String(version).padStart(16, '0')}`;

  function usable(kek: number): void {
    const state = keys.get(kek)?.state;
    if (state === 'active' || state === 'previous') return;
    throw new TollgateError('vault_unavailable', `The master key ${kek} of the vault is ${state ?? 'unknown'}`);
  }

  return {
    keys: async () => [...keys.values()],
    async addKey(key) {
      const there = keys.get(key.version);
      if (there !== undefined) return there.check === key.check;
      for (const [version, old] of keys) if (old.state === 'active') keys.set(version, { ...old, state: 'previous' });
      keys.set(key.version, key);
      return true;
    },
    async moveKey(version, from, to) {
      const key = keys.get(version);
      if (key?.state === to) return true;
      const needed = [...versions.values()].some(({ kek }) => kek === version);
      if (key === undefined || key.state !== from || (to !== 'previous' && needed)) return false;
      keys.set(version, { ...key, state: to });
      return true;
    },
    async read(slot) {
      const head = heads.get(slot);
      const last = head?.version ?? 0;
      const found = [last, last - 1].flatMap((version) => versions.get(idOf(slot, version)) ?? []);
      return { head, versions: found };
    },
    async put(head, version) {
      usable(version.kek);
      const before = heads.get(head.slot);
      if ((before?.version ?? 0) !== head.version - 1) {
        return versions.get(idOf(head.slot, head.version))?.envelope === version.envelope;
      }
      heads.set(head.slot, { ...head, lastUsedAt: before?.lastUsedAt });
      versions.set(idOf(head.slot, head.version), version);
      const oldest = head.overlapUntil === 0 ? head.version : head.version - 1;
      for (const [id, row] of versions) if (row.slot === head.slot && row.version < oldest) versions.delete(id);
      return true;
    },
    async close(head) {
      const before = heads.get(head.slot);
      if (before?.version !== head.version) return false;
      heads.set(head.slot, { ...head, lastUsedAt: before.lastUsedAt });
      for (const [id, row] of versions) if (row.slot === head.slot) versions.delete(id);
      return true;
    },
    async list({ ownerKind, owner, purpose }) {
      const order = (head: StoredHead) => [head.ownerKind, head.owner, head.purpose, head.name].join('\0');
      return [...heads.values()]
        .filter((head) => head.state !== 'removed')
        .filter((head) => ownerKind === undefined || head.ownerKind === ownerKind)
        .filter((head) => owner === undefined || head.owner === owner)
        .filter((head) => purpose === undefined || head.purpose === purpose)
        .toSorted((a, b) => (order(a) < order(b) ? -1 : 1));
    },
    async used(slot, at) {
      const head = heads.get(slot);
      if (head !== undefined) heads.set(slot, { ...head, lastUsedAt: Math.max(at, head.lastUsedAt ?? 0) });
    },
    async notUnder(kek, after, limit) {
      return [...versions.entries()]
        .filter(([, row]) => row.kek !== kek && row.slot >= after)
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .slice(0, limit)
        .map(([, row]) => row);
    },
    async underEach() {
      const counts = new Map<number, number>();
      for (const { kek } of versions.values()) counts.set(kek, (counts.get(kek) ?? 0) + 1);
      return [...counts].map(([kek, count]) => ({ kek, count })).toSorted((a, b) => a.kek - b.kek);
    },
    async rewrap(list) {
      return list.map(({ slot, version, from, to, kek }) => {
        usable(kek);
        const row = versions.get(idOf(slot, version));
        if (row === undefined || (row.envelope !== from && row.envelope !== to)) return false;
        versions.set(idOf(slot, version), { ...row, envelope: to, kek });
        return true;
      });
    },
    async lease(slot, holder, now, until) {
      const held = leases.get(slot);
      if (held !== undefined && held.holder !== holder && held.until > now) return false;
      leases.set(slot, { holder, until });
      return true;
    },
    async release(slot, holder) {
      if (leases.get(slot)?.holder === holder) leases.delete(slot);
    },
  };
}
