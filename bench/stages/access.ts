import { EndpointAccess } from '../../packages/gateway/src/access/rules.ts';
import type { Catalog } from '../../packages/gateway/src/catalog/catalog.ts';
import { makePage, type Shown } from '../../packages/gateway/src/catalog/page.ts';
import { systemClock } from '../../packages/gateway/src/core/clock.ts';
import type { Principal } from '../../packages/gateway/src/core/principal.ts';
import { TargetResolver } from '../../packages/gateway/src/pipeline/targets.ts';
import type { Call } from '../../packages/gateway/src/protocol/call.ts';
import type { Server } from '../../packages/gateway/src/protocol/peer.ts';
import { compileRoutes } from '../../packages/gateway/src/routing/router.ts';
import { RefusedCallers } from '../../packages/gateway/src/telemetry/refused-callers.ts';
import type { Stage } from '../stage.ts';

const TOOLS = 1000;
const tiers = { version: 0, of: () => 'default' };

const principals = Array.from(
  { length: 64 },
  (_, i): Principal => ({
    id: `corp@tenant${i % 8}/user${i}`,
    person: `corp/user${i}`,
    key: i,
    lanes: [0, i],
    entry: 'corp',
    subject: `user${i}`,
    tenant: `tenant${i % 8}`,
    tier: undefined,
    roles: [`role${i % 16}`],
    scopes: [],
    clientId: undefined,
  }),
);

const entries = Array.from({ length: TOOLS }, (_, i) => ({
  kind: 'tools' as const,
  server: `server${i % 20}`,
  name: `tool_${i}`,
  upstreamName: `tool_${i}`,
  target: undefined,
  canonicalId: `server${i % 20}/tool_${i}`,
  paramHeaders: undefined,
  advertised: true,
  item: {
    name: `tool_${i}`,
    modern: ',"description":"Does one thing well, and says so in a sentence.","inputSchema":{"type":"object"}',
    legacy: '',
    paramHeaders: undefined,
    modernListed: true,
    uiResource: undefined,
    template: undefined,
    definition: '',
    digest: '',
  },
  standing: undefined,
  rank: 0,
  seq: i,
}));
const merged = { entries, byName: new Map(), withheld: new Map() };

/** One tool in two is for somebody; the rules differ, so that nothing is found early by accident. */
function access(rules: number): EndpointAccess {
  const made = Array.from({ length: rules }, (_, i) => ({
    who: [{ kind: 'role' as const, pattern: `role${i % 16}` }],
    may: [`server${i % 20}/tool_*${i % 10}`],
    kinds: undefined,
    endpoint: undefined,
    when: undefined,
  }));
  return new EndpointAccess(made, '/mcp', () => tiers);
}

export let sink = 0;

function decision(rules: number): Stage {
  const compiled = access(rules);
  return {
    name: `access decision (${rules} rules, 64 callers, 1000 tools, seen before)`,
    run(iterations) {
      for (let i = 0; i < iterations; i++) {
        const caller = compiled.of(principals[i & 63]!);
        if (caller.conditionsOf('tool', entries[i % TOOLS]!) !== false) sink++;
      }
    },
  };
}

const names = entries.map(({ name }) => name);
const byName = new Map(entries.map((entry) => [entry.name, entry]));
const upstreams = new Map(
  Array.from({ length: 20 }, (_, i) => [`server${i}`, { name: `server${i}`, requestTimeout: 1000 }]),
);
const raw = () => undefined;

/** What a call costs between its name and its admission: catalog, rules, route, arguments. */
function wholeCheck(rules: number): Stage {
  const targets = new TargetResolver({
    endpoint: '/mcp',
    catalog: { tool: (name: string) => byName.get(name) } as unknown as Catalog,
    servers: upstreams as unknown as ReadonlyMap<string, Server>,
    router: compileRoutes([]),
    scope: undefined,
    callers: new RefusedCallers(systemClock),
    tools: { any: false, of: () => ({ timeout: undefined, validate: undefined }) },
    access: rules === 0 ? undefined : everything(rules),
  });
  const calls = principals.map(
    (principal) => ({ principal, method: 'tools/call', message: { raw } }) as unknown as Call,
  );
  return {
    name: `target and access of a call (${rules} rules, 64 callers, 1000 tools)`,
    run(iterations) {
      for (let i = 0; i < iterations; i++) {
        const call = calls[i & 63]!;
        const target = targets.tool(names[i % TOOLS]!, call.principal);
        targets.checkCall(target, call);
        sink += target.timeout;
      }
    },
  };
}

/** Rules of which the last gives everything, so that every call goes through. */
function everything(rules: number): EndpointAccess {
  const made = Array.from({ length: rules }, (_, i) => ({
    who: [
      i === rules - 1
        ? { kind: 'everyone' as const, pattern: '*' }
        : { kind: 'role' as const, pattern: `role${i % 16}` },
    ],
    may: [i === rules - 1 ? '*/*' : `server${i % 20}/other_*${i % 10}`],
    kinds: undefined,
    endpoint: undefined,
    when: undefined,
  }));
  return new EndpointAccess(made, '/mcp', () => tiers);
}

const filtered = access(1000);
const shown: Shown = {
  entry: (entry) => filtered.of(principals[7]!).conditionsOf('tool', entry) !== false,
  server: () => true,
};

export const stages: readonly Stage[] = [
  wholeCheck(0),
  wholeCheck(10),
  wholeCheck(1000),
  decision(10),
  decision(1000),
  {
    name: 'access decision, first of a caller and a tool (1000 rules)',
    run(iterations) {
      const compiled = access(1000);
      for (let i = 0; i < iterations; i++) {
        const caller = compiled.of({ ...principals[i & 63]! });
        if (caller.conditionsOf('tool', { ...entries[i % TOOLS]! }) !== false) sink++;
      }
    },
  },
  {
    name: 'page of 1000 tools, filtered by 1000 rules (the page itself not seen before)',
    run(iterations) {
      for (let i = 0; i < iterations; i++) sink += makePage(merged, 'modern', undefined, 1000, shown).count;
    },
  },
  {
    name: 'page of 1000 tools, unfiltered (not seen before)',
    run(iterations) {
      for (let i = 0; i < iterations; i++) sink += makePage(merged, 'modern', undefined, 1000, undefined).count;
    },
  },
];
