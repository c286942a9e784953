/** Presets: limits and tiers that stand in no file, under what the file itself says. */
import { MCP_COSTS, MCP_EMERGENCY_STOP, MCP_LIMITS, MCP_TIERS } from './preset-mcp.ts';
import { isRecord } from './values.ts';

/** `limits` and `tiers` as they would be written. */
export interface Preset {
  readonly limits: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly tiers: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** Names of the tier of callers without one: `basic` is how the preset calls `default`. */
export const BASE_TIERS = { default: 'default', mcp: 'basic' } as const;

/**
 * What may cost money: any request that a limit counts, under the names that `check_mcp_limit` and `/v1/check` know too.
 * An estimate for an endpoint of another system (`unknown`) is money like any other.
 */
const SPENDING = [...new Set(Object.values(MCP_LIMITS).flatMap(({ on }) => on))];

function mcpPreset(currency: string): Preset {
  const cost = (amount: string, name: keyof typeof MCP_COSTS) => `${amount} ${currency}/${MCP_COSTS[name].per}`;
  const costNames = Object.keys(MCP_COSTS) as (keyof typeof MCP_COSTS)[];
  return {
    limits: {
      ...Object.fromEntries(
        Object.entries(MCP_LIMITS).map(([name, limit]) => [name, { by: 'principal', ...limit, on: [...limit.on] }]),
      ),
      ...Object.fromEntries(
        costNames.map((name) => [name, { by: 'principal', on: SPENDING, limit: cost(MCP_COSTS[name].amount, name) }]),
      ),
      emergency_stop: { by: 'everyone', on: SPENDING, limit: `${MCP_EMERGENCY_STOP} ${currency} total`, latch: true },
    },
    tiers: Object.fromEntries(
      Object.entries(MCP_TIERS).map(([tier, rows]) => [
        tier,
        { ...rows, ...Object.fromEntries(costNames.map((name) => [name, cost(rows[name], name)])) },
      ]),
    ),
  };
}

/** The preset that a configuration names; undefined: none, or one that does not exist, which the schema refuses. */
export function presetOf(value: unknown): Preset | undefined {
  if (!isRecord(value) || value['preset'] !== 'mcp') return undefined;
  const { currency } = value;
  return mcpPreset(typeof currency === 'string' && /^[A-Za-z][A-Za-z0-9_-]{0,31}$/.test(currency) ? currency : 'USD');
}

/** The configuration laid over its preset: limits key by key, tiers row by row. What is no map is left to the schema. */
export function withPreset(value: unknown, preset: Preset | undefined): unknown {
  if (preset === undefined || !isRecord(value)) return value;
  const { limits = {}, tiers = {} } = value;
  return {
    ...value,
    ...(isRecord(limits) ? { limits: laidOver(preset.limits, limits) } : {}),
    ...(isRecord(tiers) ? { tiers: laidOver(preset.tiers, tiers) } : {}),
  };
}

function laidOver(base: Preset['limits'], written: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const out: Record<string, unknown> = { ...base };
  for (const [name, entry] of Object.entries(written)) {
    const below = base[name];
    out[name] = below !== undefined && isRecord(entry) ? { ...without(below, entry), ...entry } : entry;
  }
  return out;
}

/** `limit` and `burst` belong together, as in the rows of `tiers`: a new `limit` does not keep the old burst. */
function without(below: Readonly<Record<string, unknown>>, entry: Readonly<Record<string, unknown>>): object {
  const { burst, ...rest } = below;
  return entry['limit'] === undefined || burst === undefined ? below : rest;
}
