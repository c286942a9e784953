import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import type { RouteOptions } from './options.ts';
import { compileRoutes, type RouteTarget } from './router.ts';

function route(part: Partial<RouteOptions>): RouteOptions {
  return {
    tool: undefined,
    resource: undefined,
    prompt: undefined,
    to: [],
    scope: undefined,
    timeout: undefined,
    ...part,
  };
}

function target(canonicalId: string, name = canonicalId.slice(canonicalId.indexOf('/') + 1)): RouteTarget {
  return { server: canonicalId.slice(0, canonicalId.indexOf('/')), name, canonicalId };
}

const ROUTES = [
  route({ tool: 'math_*', to: ['math'], scope: 'calculate' }),
  route({ to: ['files'] }),
  route({ resource: 'data://*', to: ['data'], scope: 'read_data' }),
  route({ prompt: 'greet', to: ['admin'] }),
  route({ tool: 'admin/*', to: ['admin'], scope: 'admin' }),
  route({ tool: 'math_add', to: ['other'] }),
];

describe('compileRoutes', () => {
  const router = compileRoutes(ROUTES);

  it('routes tools and prompts by name and resources by URI', () => {
    verifies('R1-01');
    expect(router.route('tool', target('math/math_add'))?.to).toEqual(['math']);
    expect(router.route('resource', target('data/data://a/b'))?.to).toEqual(['data']);
    expect(router.route('prompt', target('admin/greet'))?.to).toEqual(['admin']);
    expect(router.route('tool', target('admin/reboot'))?.scope).toBe('admin');
    expect(router.takes('tool', target('math/math_add'))).toBe(true);
  });

  it('matches wildcards, and exact names exactly', () => {
    verifies('R1-02');
    const exact = compileRoutes([route({ tool: 'add', to: ['a'] }), route({ resource: 'data://x', to: ['a'] })]);
    expect(router.route('tool', target('math/math_subtract'))?.index).toBe(0);
    expect(router.route('tool', target('math/xmath_add'))?.index).toBe(1);
    expect(exact.route('tool', target('a/add'))?.index).toBe(0);
    expect(exact.route('tool', target('a/adds'))).toBeUndefined();
    expect(exact.route('resource', target('a/data://x'))?.index).toBe(1);
    expect(exact.route('resource', target('a/data://x/y'))).toBeUndefined();
  });

  it('matches the advertised name where the pattern names no server', () => {
    expect(router.route('tool', target('math/add', 'math_add'))?.index).toBe(0);
    expect(router.route('tool', target('files/reboot', 'admin/reboot'))?.index).toBe(1);
  });

  it('gives the default what no pattern takes, wherever it stands in the file', () => {
    verifies('R1-03');
    expect(router.route('tool', target('files/read'))?.index).toBe(1);
    expect(router.route('prompt', target('files/hello'))?.index).toBe(1);
    expect(router.route('prompt', target('admin/greet'))?.index).toBe(3);
  });

  it('lets the first match in file order decide', () => {
    verifies('R1-04');
    expect(router.route('tool', target('other/math_add'))?.index).toBe(0);
    // The first route wins even though only a later one names the server.
    expect(router.takes('tool', target('other/math_add'))).toBe(false);
  });

  it('has no route for what neither pattern nor default takes', () => {
    const small = compileRoutes([route({ tool: 'math_*', to: ['math'] })]);
    expect(small.route('tool', target('math/other'))).toBeUndefined();
    expect(small.takes('tool', target('math/other'))).toBe(false);
    expect(router.takes('tool', target('exa/search'))).toBe(false);
    expect(compileRoutes([]).takes('tool', target('exa/search'))).toBe(true);
  });

  it('decides for unknown names as if some server had them', () => {
    expect(router.routeUnknown('tool', 'math_nothing')?.scope).toBe('calculate');
    expect(router.routeUnknown('tool', 'anything')?.scope).toBe('admin');
    expect(router.routeUnknown('prompt', 'anything')?.index).toBe(1);
  });

  it('gives the same answer from memory, per advertised name', () => {
    const first = router.route('tool', target('math/add', 'math_add'));
    expect(router.route('tool', target('math/add', 'math_add'))).toBe(first);
    expect(router.route('tool', target('math/add', 'add'))?.index).toBe(1);
    expect(router.route('tool', target('math/add', 'math_add'))).toBe(first);
  });

  it('names a broken pattern', () => {
    expect(() => compileRoutes([route({ tool: 'math_[a', to: ['math'] })])).toThrow(/"\*\/math_\[a" is broken/);
  });
});
