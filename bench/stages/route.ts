import { compileRoutes, type RouteTarget } from '../../packages/gateway/src/routing/router.ts';
import type { Stage } from '../stage.ts';

const TARGETS = 1024;

const routes = Array.from({ length: 100 }, (_, i) => ({
  tool: i % 2 === 0 ? `team${i}_*` : `server${i}/tool_[0-9]*`,
  resource: undefined,
  prompt: undefined,
  to: [`server${i}`],
  scope: undefined,
  timeout: undefined,
}));
routes.push({ tool: '*', resource: undefined, prompt: undefined, to: ['last'], scope: undefined, timeout: undefined });

const router = compileRoutes(routes);
const targets = Array.from(
  { length: TARGETS },
  (_, i): RouteTarget => ({
    server: `server${i % 100}`,
    name: `team${i % 100}_tool${i}`,
    canonicalId: `server${i % 100}/tool_${i}`,
  }),
);
const unknown = targets.map(({ name }) => `x${name}`);

export let sink = 0;

export const stages: readonly Stage[] = [
  {
    name: 'route lookup (101 routes, 1024 tools, seen before)',
    run(iterations) {
      for (let i = 0; i < iterations; i++) sink += router.route('tool', targets[i & (TARGETS - 1)]!)!.index;
    },
  },
  {
    name: 'route of an unknown name (101 patterns walked)',
    run(iterations) {
      for (let i = 0; i < iterations; i++) sink += router.routeUnknown('tool', unknown[i & (TARGETS - 1)]!)!.index;
    },
  },
];
