/**
 * Where the counters of a limit are found. A counter is known by its key alone, which is a digest, so that whoever wants to
 * look at it or empty it must be able to ask a question that has the same key.
 */
import type { Target } from '../admission/limits.ts';
import type { LimitOptions } from '../admission/options.ts';

/** One question that a limit covers, without its caller. */
export interface Place {
  readonly method: string;
  /** Canonical id of the tool, resource or prompt; undefined: none in particular. */
  readonly tool: string | undefined;
  readonly endpoint: string;
}

export interface Offered {
  /** Canonical ids. */
  readonly tools: readonly string[];
  readonly resources: readonly string[];
  readonly prompts: readonly string[];
  readonly servers: readonly string[];
  /** Paths; the first one is asked where it makes no difference. */
  readonly endpoints: readonly string[];
}

type ObjectPlace = Pick<Place, 'method' | 'tool'> & { readonly kind: 'tool' | 'resource' | 'prompt' | 'none' };

/** Methods under which a limit may count that does not count tools, beside those that it names itself. */
const METHODS = ['resources/read', 'prompts/get', 'completion/complete'] as const;
const METHOD_OF = { tool: 'tools/call', resource: 'resources/read', prompt: 'prompts/get' } as const;
const KINDS = ['tool', 'resource', 'prompt'] as const;
/** Parts of a key that no operator can name: each call brings its own. */
const UNNAMED = ['session', 'client', 'ip', 'args'] as const;

/** One place for each counter that the limit keeps apart by tool, server or endpoint; none where nothing is covered now. */
export function* placesOf(
  limit: LimitOptions,
  offered: Offered,
  covering: (method: string, target: Target) => readonly LimitOptions[],
): Generator<Place, undefined> {
  const [byTool, byServer, byEndpoint] = (['tool', 'server', 'endpoint'] as const).map((key) => limit.by.includes(key));
  const known = new Set<string>();
  const place = ({ method, tool, kind }: ObjectPlace, endpoint: string): Place | undefined => {
    const server = tool?.slice(0, tool.indexOf('/'));
    const key = JSON.stringify([
      byTool ? [kind, tool ?? ''] : '',
      byServer ? (server ?? '') : '',
      byEndpoint ? endpoint : '',
    ]);
    if (known.has(key)) return undefined;
    const target = { kind, canonicalId: tool, server, endpoint } as const;
    if (!covering(method, target).some(({ name }) => name === limit.name)) return undefined;
    known.add(key);
    return { method, tool, endpoint };
  };
  const { endpoints, tools, resources, prompts } = offered;
  // Where the limit does not tell endpoints apart, one of them stands for all.
  const asked = byEndpoint === true || limit.endpoint !== undefined ? endpoints : endpoints.slice(0, 1);
  const all = byTool === true || byServer === true;
  const objects: ObjectPlace[] = [
    { method: METHOD_OF.tool, tool: undefined, kind: 'none' },
    ...objectsOf('tool', tools),
    ...objectsOf('resource', resources),
    ...objectsOf('prompt', prompts),
    ...unlisted(limit, offered.servers),
    ...[...METHODS, ...(limit.on ?? [])].map((method) => ({ method, tool: undefined, kind: 'none' }) as const),
  ];
  for (const endpoint of asked) {
    for (const object of objects) {
      const found = place(object, endpoint);
      if (found === undefined) continue;
      yield found;
      if (!all) break;
    }
  }
  return undefined;
}

function objectsOf(kind: 'tool' | 'resource' | 'prompt', ids: readonly string[]): ObjectPlace[] {
  return ids.map((tool) => ({ method: METHOD_OF[kind], tool, kind }));
}

/**
 * What the patterns of a limit name that is on no list: a tool of a server that is away, a resource that fits a template. Where
 * the limit tells objects apart, only those that are named in full; else anything that a pattern matches has the same counter.
 */
function unlisted(limit: LimitOptions, servers: readonly string[]): ObjectPlace[] {
  return KINDS.flatMap((kind) =>
    (limit[kind] ?? []).flatMap((pattern) => {
      if (limit.by.includes('tool') && /[*?[\\]/.test(pattern)) return [];
      const example = pattern.replaceAll(/\\(.)|[*?]/gsu, (_match, literal: string | undefined) => literal ?? 'x');
      const slash = kind === 'resource' ? -1 : pattern.indexOf('/');
      const owner = pattern.slice(0, Math.max(0, slash));
      // Patterns of resources are over URIs; `*` before the first slash stands for any server.
      if (slash >= 0 && !/[*?[\\]/.test(owner)) return objectsOf(kind, [example]);
      const name = slash < 0 ? example : example.slice(example.indexOf('/') + 1);
      return objectsOf(
        kind,
        servers.map((server) => `${server}/${name}`),
      );
    }),
  );
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
