/** Which limits cover one call of one caller, with the numbers of its tier and where they were written. */
import type { LimitOptions } from '../admission/options.ts';
import { compileGlob } from '../core/glob.ts';
import type { LoadedConfig } from './assemble.ts';
import type { CompiledConfig } from './compile.ts';
import { originOf } from './explain.ts';
import { countsBy, limitLine, quotaFor, quotaWords } from './limit-words.ts';
import { formatDuration } from './units.ts';
import { valueAt } from './values.ts';

export interface LimitExplanation {
  readonly name: string;
  readonly counts: string;
  /** `steady 30/min, at once 40, worst minute 70`, for the tier of the caller. */
  readonly numbers: string;
  readonly endpoints: readonly string[];
  /** Conditions and what else is unusual: `when …`, `waits 10s`, `shadow: refuses nothing`. */
  readonly notes: readonly string[];
  /** Places of the limit and of its row in `tiers`, of the route, or `preset mcp`. */
  readonly from: string;
}

export interface CoveredCall {
  readonly tool: string;
  readonly server: string;
  readonly endpoints: readonly string[];
  /** Index of the route that takes it. */
  readonly route: number | undefined;
  readonly tenant: string | undefined;
  readonly tier: string;
}

export function explainLimits(loaded: LoadedConfig, compiled: CompiledConfig, call: CoveredCall): LimitExplanation[] {
  const { limits } = compiled.admission;
  const reach = new Map(limits.map((limit) => [limit, reachOf(limit, compiled, call)]));
  return limits.flatMap((limit) => {
    const endpoints = reach.get(limit)!;
    const quota = quotaFor(limit, call.tier);
    if (endpoints.length === 0 || quota === undefined) return [];
    const rivals = limits.filter((other) => other.replaces.includes(limit.name) && reach.get(other)!.length > 0);
    const notes = rivals.map((rival) => {
      const always = rival.when === undefined && reach.get(rival)!.length >= endpoints.length;
      return always ? `replaced by ${rival.name}` : `replaced by ${rival.name} where that covers the call`;
    });
    return [
      {
        name: limit.name,
        counts: countsBy(limit),
        numbers: quotaWords(quota, limit),
        endpoints,
        notes: [...notesOf(limit), ...notes],
        from: placesOf(limit, loaded, compiled, call),
      },
    ];
  });
}

/** Endpoints at which the limit covers the call. */
function reachOf(limit: LimitOptions, compiled: CompiledConfig, call: CoveredCall): string[] {
  const some = (patterns: readonly string[] | undefined, text: string | undefined) =>
    patterns === undefined || (text !== undefined && patterns.some((pattern) => compileGlob(pattern).matches(text)));
  const named = limit.tool !== undefined || limit.resource !== undefined || limit.prompt !== undefined;
  const route = compiled.routeOfLimit.get(limit.name);
  const covered =
    some(limit.on, 'tools/call') &&
    some(limit.server, call.server) &&
    some(limit.tenant, call.tenant) &&
    some(limit.tier, call.tier) &&
    (!named || (limit.tool !== undefined && some(limit.tool, call.tool))) &&
    (limit.origin !== 'route' || route === call.route);
  return covered ? call.endpoints.filter((endpoint) => some(limit.endpoint, endpoint)) : [];
}

function notesOf(limit: LimitOptions): string[] {
  const notes: string[] = [];
  if (limit.when !== undefined) notes.push(`when ${limit.when}`);
  if (limit.cost?.kind === 'fixed') notes.push(`a call weighs ${limit.cost.units}`);
  if (limit.cost?.kind === 'expression') notes.push(`a call weighs ${limit.cost.source}`);
  const waits = limit.then.filter((rung) => rung.kind === 'wait');
  if (waits.length > 0) notes.push(`waits ${formatDuration(waits.reduce((sum, { ms }) => sum + ms, 0))} for room`);
  if (limit.mode === 'shadow') notes.push('shadow: refuses nothing');
  return notes;
}

function placesOf(limit: LimitOptions, loaded: LoadedConfig, compiled: CompiledConfig, call: CoveredCall): string {
  const { source } = loaded;
  const route = compiled.routeOfLimit.get(limit.name);
  if (route !== undefined) return `route ${originOf(['routes', route, 'limit'], source)}`;
  const own = originOf(['limits', limit.name], source);
  const row = ['tiers', call.tier, limit.name];
  const known = valueAt(source.tree.value, row) ?? valueAt(source.preset, row);
  return known === undefined ? own : `${own}, tier ${call.tier} ${originOf(row, source)}`;
}

/** `calls: steady 30/min, at once 40, worst minute 70, one counter for each principal`, one line per limit. */
export function describeLimits(compiled: CompiledConfig): string[] {
  const { limits, sessionGuard } = compiled.admission;
  const guard =
    sessionGuard === undefined
      ? []
      : [`session guard: ${sessionGuard.limit} requests in ${formatDuration(sessionGuard.periodMs)} of each session`];
  return [...limits.map(limitLine), ...guard];
}
