/** A file of ToolHive as the tree of a `tollgate.yaml`, with positions in its own file. */
import type { Environment, Expanded, Expansion } from '../expand.ts';
import { type Finding, type KeyPath, mistake } from '../problems.ts';
import { placeKey, type SourceTree } from '../tree.ts';
import { formatDuration } from '../units.ts';
import { PASSWORD_VARIABLE } from './admission-rules.ts';
import { exactly } from './aggregation.ts';
import { fromVariable } from './backends.ts';
import { Cursor } from './cursor.ts';
import { readGenerated } from './generated.ts';
import { readManifests } from './manifests.ts';
import type { Aggregation, Endpoint, IncomingCallers, Model, ReadOptions } from './model.ts';
import { normalRateLimiting, type TranslatedLimit, translateRateLimiting } from './rate-limiting.ts';
import { readBearers } from './settings.ts';
import type { ToolhiveView } from './view.ts';

export interface ImportedToolhive {
  readonly tree: SourceTree;
  readonly expanded: Omit<Expanded, 'value'>;
  readonly problems: readonly Finding[];
  /** Undefined: the file could not be read as one of ToolHive at all. */
  readonly toolhive: ToolhiveView | undefined;
}

/** `manifests`: the tree is the list of the documents of a file of manifests; else it is a generated file. */
export function importToolhive(
  tree: SourceTree,
  options: { readonly env: Environment; readonly manifests: boolean },
): ImportedToolhive {
  const findings: Finding[] = [];
  const root = new Cursor(tree.value, [], findings);
  const model = options.manifests ? readManifests(root, options) : readGenerated(root, options);
  const translation = new Translation(options, findings);
  // A broken file has no server; what is wrong was said, and an empty gateway must not come of it.
  if (model !== undefined) translation.add(model);
  return {
    tree: tree.moved(translation.value, translation.moves),
    expanded: { expansions: translation.expansions, originals: translation.originals, problems: [] },
    problems: findings,
    toolhive: model === undefined ? undefined : viewOf(model, translation.limits),
  };
}

const FORBIDDEN: ReadonlySet<string | number> = new Set(['__proto__', 'constructor', 'prototype']);

class Translation {
  readonly value: Record<string, unknown> = {};
  /** Every place of the file stays known by its own path, for the findings that were made there. */
  readonly moves = new Map<string, KeyPath>([['', []]]);
  readonly expansions: Expansion[] = [];
  readonly originals = new Map<string, string>();
  readonly limits: TranslatedLimit[] = [];
  readonly #options: ReadOptions;
  readonly #findings: Finding[];

  constructor(options: ReadOptions, findings: Finding[]) {
    this.#options = options;
    this.#findings = findings;
  }

  add(model: Model): void {
    this.#servers(model);
    this.#endpoints(model);
    this.#limits(model);
    if (model.storage !== undefined && this.limits.length > 0) this.#state(model, model.storage);
    this.#auth(model);
    const refusals = model.settings.get('refusals');
    this.#put(['refusals'], refusals?.text() ?? 'http', refusals?.path ?? model.from);
  }

  /** A value and the place that it came from. */
  #put(path: KeyPath, value: unknown, from: KeyPath): void {
    // Names are values in these files, where the parser refuses them only as keys.
    const bad = path.find((key) => FORBIDDEN.has(key));
    if (bad !== undefined) {
      this.#findings.push(mistake(from, `"${bad}" cannot be used as a name.`, 'Choose another.'));
      return;
    }
    let at: Record<string | number, unknown> = this.value;
    for (const key of path.slice(0, -1)) {
      at[key] ??= {};
      at = at[key] as Record<string, unknown>;
    }
    at[path.at(-1)!] = value;
    this.moves.set(placeKey(path), from);
  }

  /** The same for a value that a variable has: shown as the variable. */
  #putVariable(path: KeyPath, value: string, variable: string, from: KeyPath): void {
    this.#put(path, value, from);
    this.expansions.push({ path, kind: 'env', name: variable, defaulted: false });
    this.originals.set(placeKey(path), `\${env:${variable}}`);
  }

  #servers({ backends }: Model): void {
    this.#put(['servers'], {}, []);
    for (const { name, url, sse, headers, timeout, from } of backends) {
      const path = ['servers', name];
      this.#put(path, { url, type: sse ? 'sse' : 'http' }, from);
      if (timeout !== undefined) this.#put([...path, 'timeout'], { request: formatDuration(timeout) }, from);
      for (const header of headers) {
        const place = [...path, 'headers', header.name];
        if (header.variable === undefined) this.#put(place, header.value, header.from);
        else this.#putVariable(place, header.value, header.variable, header.from);
      }
    }
  }

  #endpoints({ endpoints, backends }: Model): void {
    // That there are no servers was said.
    if (backends.length === 0) return;
    this.#put(['endpoints'], {}, []);
    for (const { path, servers, aggregation } of endpoints) {
      this.#put(
        ['endpoints', path],
        {
          servers: inOrder(servers, aggregation),
          naming: aggregation.naming,
          tools: { allow: allowed(servers, aggregation) },
        },
        aggregation.from,
      );
      this.#names({ servers, aggregation });
    }
  }

  /** Overrides, as names that the operator chose. */
  #names({ servers, aggregation }: Pick<Endpoint, 'servers' | 'aggregation'>): void {
    for (const [server, { renamed }] of aggregation.tools) {
      if (!servers.includes(server)) continue;
      for (const [tool, { name, from }] of renamed) {
        const as = aggregation.naming === 'prefix' ? `${server}_${name}` : name;
        this.#put(['tools', exactly(server, tool), 'as'], as, from);
      }
    }
  }

  #limits({ limits, auth }: Model): void {
    const strangers = auth?.type !== 'oidc';
    for (const { block, owner } of limits) this.limits.push(...translateRateLimiting(block, owner, strangers));
    for (const { name, limit, from } of this.limits) this.#put(['limits', name], limit, from);
  }

  #state({ namespace, name, settings }: Model, storage: Cursor): void {
    const address = storage.at('address').text();
    if (storage.at('provider').value !== 'redis' || address === undefined) return;
    const layout = settings.get('key-layout');
    this.#put(
      ['state'],
      {
        url: `redis://${address}`,
        database: storage.at('db').whole(0, 65_535) ?? 0,
        ledger: `${namespace}:${name}`,
        keyLayout: layout?.text() ?? 'toolhive',
      },
      storage.path,
    );
    const password = this.#options.env[PASSWORD_VARIABLE];
    if (password !== undefined && password !== '') {
      this.#putVariable(['state', 'password'], password, PASSWORD_VARIABLE, storage.path);
    } else if (storage.at('passwordRef').present) {
      fromVariable(storage.at('passwordRef'), PASSWORD_VARIABLE, this.#options);
    }
  }

  /** Callers with tokens of an identity provider. */
  #provider({ oidc, at }: IncomingCallers): void {
    const provider = oidc?.();
    if (provider === undefined) return;
    this.#put(['auth'], [], at.path);
    this.#put(['auth', 0], { name: 'oidc', ...provider.entry }, provider.from.path);
    for (const kind of Object.keys(provider.entry)) this.moves.set(placeKey(['auth', 0, kind]), provider.from.path);
    const { publicUrl } = provider;
    if (publicUrl !== undefined) this.#put(['publicUrl'], publicUrl.origin, publicUrl.from.path);
  }

  #auth({ auth, settings }: Model): void {
    const bearers = settings.get('bearers');
    if (auth === undefined) return;
    if (auth.type !== 'oidc') {
      bearers?.refuse(
        'Stand-ins are for callers of an identity provider; here nobody signs in.',
        'Remove the setting.',
      );
      // `anonymous` says that anybody may call; `local` means the user of this machine.
      this.#put(['auth'], [{ anonymous: auth.type === 'anonymous' ? { public: true } : true }], auth.at.path);
      return;
    }
    if (bearers === undefined) {
      this.#provider(auth);
      return;
    }
    const callers = readBearers(bearers);
    if (callers.length === 0) {
      bearers.refuse('No caller is named, so nobody could call.', 'Write alice=ALICE_TOKEN, or remove the setting.');
      return;
    }
    bearers.warn('Only these static tokens are accepted, and none of the identity provider.');
    this.#put(['auth'], [], auth.at.path);
    callers.forEach(({ subject, variable }, i) => {
      const token = fromVariable(bearers, variable, this.#options) ?? '';
      this.#put(['auth', i], { name: subject, bearer: { subject } }, bearers.path);
      this.#putVariable(['auth', i, 'bearer', 'token'], token, variable, bearers.path);
    });
  }
}

/** Those that `priorityOrder` names come first; names of servers that are not there have no effect, as in ToolHive. */
function inOrder(servers: readonly string[], { order }: Aggregation): string[] {
  const first = order.filter((name) => servers.includes(name));
  return [...new Set([...first, ...servers])];
}

/** Patterns of the tools that exist: a filter and `excludeAll` hide the rest, and what is hidden cannot be called. */
function allowed(servers: readonly string[], { tools, denyUnlisted, excludeAll }: Aggregation): string[] {
  if (excludeAll) return [];
  return servers.flatMap((server) => {
    const view = tools.get(server);
    if (view === undefined) return denyUnlisted ? [] : [`${server}/*`];
    return view.filter === undefined ? [`${server}/*`] : view.filter.map((tool) => exactly(server, tool));
  });
}

function viewOf(model: Model, limits: readonly TranslatedLimit[]): ToolhiveView {
  const effective: { key: string; value: unknown; from: KeyPath }[] = [];
  if (limits.length > 0 && model.storage !== undefined) {
    const { storage } = model;
    const [provider, address, db] = ['provider', 'address', 'db'].map((key) => storage.at(key).value);
    effective.push({ key: 'sessionStorage', value: { provider, address, db: db ?? 0 }, from: storage.path });
  }
  for (const { block, owner } of limits.length === 0 ? [] : model.limits) {
    const key = owner.only === undefined ? 'rateLimiting' : `${owner.only}.rateLimiting`;
    effective.push({ key, value: normalRateLimiting(block), from: block.path });
  }
  return {
    kind: model.kind,
    namespace: model.namespace,
    name: model.name,
    buckets: Object.fromEntries(limits.map(({ name, bucket }) => [name, bucket])),
    effective,
  };
}
