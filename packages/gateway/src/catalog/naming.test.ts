import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Claim, cutName, NameBook } from './naming.ts';
import type { CatalogOptions } from './options.ts';

function claims(...ids: string[]): Claim[] {
  return ids.map((canonicalId) => {
    const slash = canonicalId.indexOf('/');
    return { server: canonicalId.slice(0, slash), name: canonicalId.slice(slash + 1), canonicalId };
  });
}

function book(naming: CatalogOptions['naming'], chosen: Record<string, string> = {}, previous?: NameBook): NameBook {
  return new NameBook(naming, new Map(Object.entries(chosen)), previous);
}

const LONG = 'x'.repeat(70);

describe('NameBook', () => {
  it('auto: the first server owns the bare name, a later one is prefixed', () => {
    const { names, conflicts } = book('auto').assign(claims('a/add', 'b/add', 'b/sub'));
    expect(names).toEqual(['add', 'b_add', 'sub']);
    expect(conflicts).toEqual([
      { name: 'add', owner: 'a/add', newcomer: 'b/add', renamed: 'b_add', reason: 'collision' },
    ]);
  });

  it('auto: a new collision touches only the newcomer, and a name is kept for one that went away', () => {
    const names = book('auto');
    names.assign(claims('b/add'));
    expect(names.assign(claims('a/add', 'b/add')).names).toEqual(['a_add', 'add']);
    expect(names.assign(claims('a/add')).names).toEqual(['a_add']);
    expect(names.assign(claims('c/add', 'b/add')).names).toEqual(['c_add', 'add']);
  });

  it('auto: a prefixed name that is taken too gets a digest', () => {
    const { names } = book('auto').assign(claims('a/add', 'c/b_add', 'b/add'));
    expect(names[2]).toMatch(/^b_add_[0-9a-f]{6}$/);
  });

  it('prefix: always server_tool', () => {
    expect(book('prefix').assign(claims('a/add', 'b/add')).names).toEqual(['a_add', 'b_add']);
    const { names } = book('prefix').assign(claims('a_b/c', 'a/b_c'));
    expect(names[0]).toBe('a_b_c');
    expect(names[1]).toMatch(/^a_b_c_[0-9a-f]{6}$/);
  });

  it.each(['priority', 'manual', 'bare'] as const)('%s: the first keeps the name, the rest are left out', (naming) => {
    const { names, conflicts } = book(naming).assign(claims('a/add', 'b/add'));
    expect(names).toEqual(['add', undefined]);
    expect(conflicts).toMatchObject([{ owner: 'a/add', newcomer: 'b/add', renamed: undefined }]);
  });

  it('manual: a chosen name resolves the collision and is kept free for its tool', () => {
    const names = book('manual', { 'b/add': 'plus' });
    expect(names.assign(claims('a/add', 'a/plus', 'b/add')).names).toEqual(['add', undefined, 'plus']);
  });

  it('cuts names over 64 characters with six hex digits, but never under bare', () => {
    const cut = book('auto').assign(claims(`a/${LONG}`)).names[0]!;
    expect(cut).toHaveLength(64);
    expect(cut).toMatch(/^x{57}_[0-9a-f]{6}$/);
    expect(book('prefix').assign(claims(`a/${LONG.slice(0, 64)}`)).names[0]).toHaveLength(64);
    expect(book('bare').assign(claims(`a/${LONG}`)).names).toEqual([LONG]);
    expect(cutName(`${'x'.repeat(56)}😀${LONG}`, 'a/b').isWellFormed()).toBe(true);
  });

  it('keeps the prefix tollgate_ for the gateway', () => {
    const { names, conflicts } = book('auto').assign(claims('a/tollgate_quota', 'tollgate/tollgate_x'));
    expect(names).toEqual(['a_tollgate_quota', undefined]);
    expect(conflicts.map(({ reason }) => reason)).toEqual(['reserved', 'exhausted']);
    expect(book('bare').assign(claims('a/tollgate_quota')).names).toEqual([undefined]);
  });

  it('carries names over a reload, but not past a new choice of the operator', () => {
    const old = book('auto');
    old.assign(claims('b/add', 'b/sub'));
    const next = book('auto', { 'b/sub': 'minus' }, old);
    expect(next.assign(claims('a/add', 'b/add', 'a/sub', 'b/sub')).names).toEqual(['a_add', 'add', 'sub', 'minus']);
    expect(book('prefix', {}, old).assign(claims('b/add')).names).toEqual(['b_add']);
  });

  it('is a stable injection under any history of lists', () => {
    const id = fc
      .tuple(
        fc.constantFrom('a', 'b', 'a_b', 'tollgate'),
        fc.constantFrom('x', 'b_x', 'a_x', 'tollgate_x', LONG, `${LONG}y`),
      )
      .map(([server, name]) => `${server}/${name}`);
    const history = fc.array(fc.uniqueArray(id, { maxLength: 12 }), { minLength: 1, maxLength: 8 });
    const naming = fc.constantFrom('auto', 'prefix', 'priority', 'manual', 'bare');
    fc.assert(
      fc.property(naming, history, (mode, lists) => {
        const names = book(mode as CatalogOptions['naming']);
        const given = new Map<string, string>();
        for (const list of lists) {
          const result = names.assign(claims(...list)).names;
          list.forEach((canonicalId, i) => {
            const name = result[i];
            const before = given.get(canonicalId);
            if (before !== undefined) expect(name).toBe(before);
            if (name === undefined) return;
            given.set(canonicalId, name);
            expect(name.startsWith('tollgate_')).toBe(false);
            if (mode !== 'bare') expect(name.length).toBeLessThanOrEqual(64);
          });
          expect(new Set(given.values()).size).toBe(given.size);
        }
      }),
      { numRuns: 200 },
    );
  });
});
