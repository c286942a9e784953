/**
 * Where the counters of a limit are found. A counter is known by its key alone, which is a digest, so that whoever wants to
 * look at it or empty it must be able to ask a question that has the same key.
 */
import type { Target } from '../admission/limits.ts';
import type { LimitOptions } from '../admission/options.ts';

/** One question that a limit covers, without its caller. */
export interface Place {
  readonly method: string;
  /** Canonical id; undefined: no tool in particular. */
  readonly tool: string | undefined;
  readonly endpoint: string;
}

export interface Offered {
  /** Canonical ids. */
  readonly tools: readonly string[];
  /** Paths; the first one is asked where it makes no difference. */
  readonly endpoints: readonly string[];
}

const METHOD = 'tools/call';
/** Methods under which a limit may count that does not count tools, beside those that it names itself. */
const METHODS = ['resources/read', 'prompts/get', 'completion/complete'] as const;
/** Parts of a key that no operator can name: each call brings its own. */
const UNNAMED = ['session', 'client', 'ip', 'args'] as const;

/** One place for each counter that the limit keeps apart by tool, server or endpoint; none where nothing is covered now. */
export function* placesOf(
  limit: LimitOptions,
  { tools, endpoints }: Offered,
  covering: (method: string, target: Target) => readonly LimitOptions[],
): Generator<Place, undefined> {
  const [byTool, byServer, byEndpoint] = (['tool', 'server', 'endpoint'] as const).map((key) => limit.by.includes(key));
  const known = new Set<string>();
  const place = (method: string, tool: string | undefined, endpoint: string): Place | undefined => {
    const server = tool?.slice(0, tool.indexOf('/'));
    const key = JSON.stringify([
      byTool ? (tool ?? '') : '',
      byServer ? (server ?? '') : '',
      byEndpoint ? endpoint : '',
    ]);
    if (known.has(key)) return undefined;
    const target = { kind: tool === undefined ? 'none' : 'tool', canonicalId: tool, server, endpoint } as const;
    if (!covering(method, target).some(({ name }) => name === limit.name)) return undefined;
    known.add(key);
    return { method, tool, endpoint };
  };
  // Where the limit does not tell endpoints apart, one of them stands for all.
  const asked = byEndpoint === true || limit.endpoint !== undefined ? endpoints : endpoints.slice(0, 1);
  for (const endpoint of asked) {
    for (const tool of [undefined, ...tools]) {
      const found = place(METHOD, tool, endpoint);
      if (found !== undefined) yield found;
      if (known.size > 0 && byTool !== true && byServer !== true) break;
    }
  }
  if (known.size > 0) return undefined;
  for (const endpoint of asked) {
    for (const method of [...METHODS, ...(limit.on ?? [])]) {
      const found = place(method, undefined, endpoint);
      if (found !== undefined) yield found;
    }
  }
  return undefined;
}

/**
 * Why the counters that somebody means cannot be found, or are not only theirs; undefined: they can. `principal`
 * undefined means everyone.
 */
export function unnameable({ name, by }: LimitOptions, principal: string | undefined): string | undefined {
  const unnamed = UNNAMED.filter((key) => by.includes(key));
  if (unnamed.length > 0) {
    return `${name} counts by ${unnamed.join(' and ')}, which cannot be named here: its counters empty by themselves, or grant more for a while`;
  }
  const own = (['principal', 'tenant'] as const).find((key) => by.includes(key));
  if (own !== undefined && principal === undefined) return `${name} counts by ${own}: name whose counter`;
  // Whoever names one caller does not mean the counter, perhaps the emergency stop, that all of them share.
  if (own === undefined && principal !== undefined) {
    return `${name} does not count by principal but for all callers together: name everyone`;
  }
  return undefined;
}
