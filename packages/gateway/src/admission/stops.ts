import { compileCanonicalGlob, compileGlob, type Glob } from '../core/glob.ts';
import type { Stop, StopScope } from '../core/operator-records.ts';

/** What a stop is matched against. */
export interface Stoppable {
  readonly kind: 'tool' | 'resource' | 'prompt' | 'none';
  readonly canonicalId: string | undefined;
  readonly server: string | undefined;
}

interface CompiledStop {
  readonly stop: Stop;
  matches(target: Stoppable, tenant: string | undefined): boolean;
}

/** More stops than this are a mistake of whoever makes them; one more is refused. */
const MAX_STOPS = 10_000;

/**
 * The stops in force, looked at before anything else of an admission: while there are none that is one boolean.
 * Sticky: a stop ends by `lift` or by its own `until`, never by itself. In memory; `load` brings back what was kept,
 * and `onChange` tells what to keep.
 */
export class StopBook {
  /** False: nothing is stopped. */
  any = false;
  readonly #stops = new Map<string, CompiledStop>();
  readonly #latched = new Map<string, Map<string, Stop>>();
  readonly #onChange: ((stop: Stop, change: 'added' | 'lifted') => void) | undefined;

  constructor(onChange?: (stop: Stop, change: 'added' | 'lifted') => void) {
    this.#onChange = onChange;
  }

  /** False: a stop of that id is there already. Throws `config_invalid` for a broken pattern, RangeError when full. */
  add(stop: Stop): boolean {
    if (!this.#put(stop)) return false;
    this.#onChange?.(stop, 'added');
    return true;
  }

  /** Ends a stop. Undefined: no such stop. */
  lift(id: string): Stop | undefined {
    const stop = this.#stops.get(id)?.stop;
    if (stop === undefined) return undefined;
    this.#remove(stop);
    this.#onChange?.(stop, 'lifted');
    return stop;
  }

  /** Replaces everything by what was kept; tells no listener. */
  load(stops: Iterable<Stop>): void {
    this.#stops.clear();
    this.#latched.clear();
    for (const stop of stops) this.#put(stop);
    this.any = this.#stops.size > 0;
  }

  /** Stops in force at this wall time. */
  list(wall: number): readonly Stop[] {
    return [...this.#stops.values()].map(({ stop }) => stop).filter((stop) => !over(stop, wall));
  }

  /** The stop in the way of a call, other than those of limits. Forgets the ones whose time is over. */
  of(target: Stoppable, tenant: string | undefined, wall: number): Stop | undefined {
    for (const compiled of this.#stops.values()) {
      if (over(compiled.stop, wall)) this.#remove(compiled.stop);
      else if (compiled.matches(target, tenant)) return compiled.stop;
    }
    return undefined;
  }

  /** The stop of a limit for one of its keys (16 hexadecimal digits). */
  latched(limit: string, key: string, wall: number): Stop | undefined {
    const byKey = this.#latched.get(limit);
    const stop = byKey?.get(key) ?? byKey?.get('');
    return stop === undefined || over(stop, wall) ? undefined : stop;
  }

  #put(stop: Stop): boolean {
    if (this.#stops.has(stop.id)) return false;
    if (this.#stops.size >= MAX_STOPS) throw new RangeError(`There are ${MAX_STOPS} stops already; lift some first.`);
    this.#stops.set(stop.id, { stop, matches: matcherOf(stop.scope) });
    if (stop.scope.startsWith('rule:')) {
      const limit = stop.scope.slice('rule:'.length);
      const byKey = this.#latched.get(limit) ?? new Map<string, Stop>();
      byKey.set(stop.key ?? '', stop);
      this.#latched.set(limit, byKey);
    }
    this.any = true;
    return true;
  }

  #remove(stop: Stop): void {
    this.#stops.delete(stop.id);
    this.any = this.#stops.size > 0;
    if (!stop.scope.startsWith('rule:')) return;
    const limit = stop.scope.slice('rule:'.length);
    const byKey = this.#latched.get(limit);
    byKey?.delete(stop.key ?? '');
    if (byKey?.size === 0) this.#latched.delete(limit);
  }
}

function over(stop: Stop, wall: number): boolean {
  return stop.until !== undefined && stop.until <= wall;
}

function matcherOf(scope: StopScope): CompiledStop['matches'] {
  if (scope === 'everything') return () => true;
  const colon = scope.indexOf(':');
  const value = scope.slice(colon + 1);
  switch (scope.slice(0, colon)) {
    case 'server':
      return globMatcher(compileGlob(value), (target) => target.server);
    case 'tool':
      return globMatcher(compileCanonicalGlob(value), (target) =>
        target.kind === 'tool' ? target.canonicalId : undefined,
      );
    case 'tenant':
      return globMatcher(compileGlob(value), (_target, tenant) => tenant);
    default:
      // A limit's stop is found by the limit's own key.
      return () => false;
  }
}

function globMatcher(
  glob: Glob,
  pick: (target: Stoppable, tenant: string | undefined) => string | undefined,
): CompiledStop['matches'] {
  return (target, tenant) => {
    const text = pick(target, tenant);
    return text !== undefined && glob.matches(text);
  };
}
