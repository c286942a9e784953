/** Manifests of `toolhive.stacklok.dev` (v1alpha1 and v1beta1): a VirtualMCPServer with its members, or MCPServers. */
import { isRecord } from '../values.ts';
import { checkServerLimits, checkStorage, checkVirtualLimits } from './admission-rules.ts';
import { exactly, readAggregation, readToolConfig, type ToolConfigs } from './aggregation.ts';
import { readOperational } from './backends.ts';
import type { Cursor } from './cursor.ts';
import { CONFIG_KEYS, readAuthType, virtualOwner } from './generated.ts';
import { type IncomingOidc, readReferredOidc } from './incoming-oidc.ts';
import { AUTH_KINDS, type Member, memberHeaders, memberOf, type Outgoing, readOutgoing } from './members.ts';
import type { Aggregation, Endpoint, Model, ReadOptions } from './model.ts';
import { readSettings } from './settings.ts';

const VERSIONS = ['toolhive.stacklok.dev/v1alpha1', 'toolhive.stacklok.dev/v1beta1'];
const MEMBER_KINDS = ['MCPServer', 'MCPRemoteProxy', 'MCPServerEntry'];
/** Read where something refers to them. */
const REFERRED_KINDS = ['MCPGroup', 'MCPOIDCConfig', 'MCPExternalAuthConfig', 'MCPToolConfig'];
const LATER_KINDS = [
  'MCPAuthzConfig',
  'MCPTelemetryConfig',
  'MCPWebhookConfig',
  'EmbeddingServer',
  'VirtualMCPCompositeToolDefinition',
  'MCPRegistry',
];

export interface Manifest {
  readonly kind: string;
  readonly name: string;
  readonly namespace: string;
  readonly root: Cursor;
  readonly spec: Cursor;
}

/** True for a text with a manifest of ToolHive in it; it may have several documents. */
export function hasManifests(text: string): boolean {
  return /(?:^|[{,])[ \t-]*["']?apiVersion["']?[ \t]*:[ \t]*["']?toolhive\.stacklok\.dev\//m.test(text);
}

/** `documents`: the list of all documents of the file. Undefined: there is nothing to serve, which was said. */
export function readManifests(documents: Cursor, options: ReadOptions): Model | undefined {
  const manifests = documents.items().flatMap((document) => manifestsOf(document, options));
  const seen = new Set<string>();
  for (const { kind, name, root } of manifests) {
    if (seen.has(`${kind}/${name}`)) root.refuse(`The ${kind} "${name}" stands here twice.`, 'Remove one.');
    seen.add(`${kind}/${name}`);
  }
  const virtual = manifests.filter((manifest) => manifest.kind === 'VirtualMCPServer');
  for (const another of virtual.slice(1)) {
    another.root.refuse('One file has one VirtualMCPServer.', 'Serve each from a file of its own.');
  }
  const found = new Manifests(manifests, options);
  if (virtual[0] !== undefined) return readVirtual(virtual[0], found);
  const servers = manifests.filter(({ kind }) => kind === 'MCPServer');
  if (servers.length > 0) return readServers(servers, found);
  documents.refuse('There is no VirtualMCPServer and no MCPServer in this file.');
  return undefined;
}

/** What stands in the file, to be found by those that refer to it. */
export class Manifests {
  readonly all: readonly Manifest[];
  readonly options: ReadOptions;

  constructor(all: readonly Manifest[], options: ReadOptions) {
    this.all = all;
    this.options = options;
  }

  find(kind: string, name: string | undefined): Manifest | undefined {
    return this.all.find((manifest) => manifest.kind === kind && manifest.name === name);
  }

  readonly toolConfigs: ToolConfigs = (name) => this.find('MCPToolConfig', name)?.spec;

  oidc(reference: Cursor): IncomingOidc | undefined {
    return readReferredOidc(reference, (name) => this.find('MCPOIDCConfig', name)?.spec);
  }
}

function manifestsOf(root: Cursor, options: ReadOptions): Manifest[] {
  if (!root.present) return [];
  if (!isRecord(root.value)) {
    root.refuse('This document is no manifest.');
    return [];
  }
  const version = String(root.at('apiVersion').value ?? '');
  const kind = String(root.at('kind').value ?? '');
  if (kind === 'List' && version === 'v1')
    return root
      .at('items')
      .items()
      .flatMap((item) => manifestsOf(item, options));
  if (!version.startsWith('toolhive.stacklok.dev/')) {
    root.warn(`${kind === '' ? 'This document' : `The ${kind.slice(0, 60)}`} is not ToolHive's; it is not used.`);
    return [];
  }
  if (!VERSIONS.includes(version))
    root.at('apiVersion').refuse(`"${version}" is not known.`, `One of ${VERSIONS.join(', ')}.`);
  if (LATER_KINDS.includes(kind)) {
    root.warn(`${kind} is not in this version of Tollgate; nothing may refer to it.`);
    return [];
  }
  if (kind !== 'VirtualMCPServer' && !MEMBER_KINDS.includes(kind) && !REFERRED_KINDS.includes(kind)) {
    root.at('kind').refuse(`"${kind.slice(0, 60)}" is no kind of ToolHive.`);
    return [];
  }
  root.strict({ used: ['apiVersion', 'kind', 'metadata', 'spec', 'status'] });
  const name = root.at('metadata').at('name').text() ?? '';
  if (name === '') root.at('metadata').refuse('A manifest needs metadata.name.');
  const namespace = root.at('metadata').at('namespace').text() ?? (options.env['VMCP_NAMESPACE'] || 'local');
  return [{ kind, name, namespace, root, spec: root.at('spec') }];
}

/** `groupRef: { name: team }`; v1alpha1 had the bare name as well. */
function groupOf(spec: Cursor): string | undefined {
  const group = spec.at('groupRef');
  return typeof group.value === 'string' ? group.value : group.at('name').text();
}

function readVirtual(manifest: Manifest, found: Manifests): Model {
  const { spec, root, name, namespace } = manifest;
  spec.strict({
    used: ['groupRef', 'incomingAuth', 'outgoingAuth', 'sessionStorage', 'config'],
    later: ['passthroughHeaders', 'telemetryConfigRef', 'embeddingServerRef', 'authServerConfig'],
    cluster: ['serviceType', 'sessionAffinity', 'serviceAccount', 'podTemplateSpec', 'replicas', 'imagePullSecrets'],
  });
  spec.at('replicas').whole(0, 1_000_000);
  const config = spec.at('config');
  config.strict({
    ...CONFIG_KEYS,
    // The operator overwrites them with those of the spec.
    idle: ['incomingAuth', 'outgoingAuth', 'sessionStorage', 'backends'],
  });
  const group = groupOf(spec) ?? groupOf(config);
  if (group === undefined) spec.refuse('Which group of servers?', 'Write groupRef: { name: team }.');
  const timeoutOf = readOperational(config.at('operational'));
  const outgoing = readOutgoing(spec.at('outgoingAuth'));
  const members = membersOf(group, found, outgoing);
  const backends = members.map((member) => ({ ...member.backend, timeout: timeoutOf(member.backend.name) }));
  if (backends.length === 0) {
    spec
      .at('groupRef')
      .refuse(
        `No server of the group "${group ?? ''}" is in this file.`,
        'Put the manifests of its MCPServers, MCPRemoteProxies and MCPServerEntries into it.',
      );
  }
  const servers = backends.map((backend) => backend.name);
  const aggregation = readAggregation(config.at('aggregation'), found.toolConfigs);
  const auth = readVirtualAuth(spec.at('incomingAuth'), found);
  const storage = spec.at('sessionStorage');
  const block = config.at('rateLimiting');
  checkStorage(storage, false);
  checkVirtualLimits(block, storage, auth?.type, false);
  const limits = [
    ...(block.present ? [{ block, owner: virtualOwner(namespace, name, servers, aggregation) }] : []),
    ...members.flatMap(({ manifest: member }) => limitsOf(member)),
  ];
  return {
    kind: 'VirtualMCPServer',
    namespace,
    name,
    from: root.path,
    auth,
    backends,
    endpoints: [{ path: '/mcp', servers, aggregation }],
    limits,
    storage: block.present ? presentOf(storage) : storageOf(members.map((member) => member.manifest)),
    settings: readSettings(config.at('metadata'), root.at('metadata').at('annotations')),
  };
}

function membersOf(group: string | undefined, found: Manifests, outgoing: Outgoing): Member[] {
  return found.all.flatMap((manifest) => {
    if (!MEMBER_KINDS.includes(manifest.kind)) return [];
    if (group === undefined || groupOf(manifest.spec) !== group) {
      manifest.root.warn(`It is not in the group "${group ?? ''}", and so not served.`);
      return [];
    }
    return memberOf(manifest, memberHeaders(manifest, outgoing, found), false) ?? [];
  });
}

function readVirtualAuth(cursor: Cursor, found: Manifests): Model['auth'] {
  if (!cursor.present) {
    cursor.refuse('incomingAuth is required', 'Write incomingAuth: { type: anonymous }.');
    return undefined;
  }
  cursor.strict({ used: ['type', 'oidcConfigRef'], later: ['authzConfig', 'authzConfigRef'] });
  const type = readAuthType(cursor, ['anonymous', 'oidc']);
  if (type === 'oidc' && !cursor.at('oidcConfigRef').present) {
    cursor.refuse('spec.incomingAuth.oidcConfigRef is required when type is oidc');
  }
  return type === undefined ? undefined : { type, at: cursor, oidc: () => found.oidc(cursor.at('oidcConfigRef')) };
}

/** MCPServers by themselves: one is `/mcp`, several are `/<name>/mcp`. */
function readServers(servers: readonly Manifest[], found: Manifests): Model {
  const first = servers[0]!;
  const outgoing = readOutgoing(first.spec.at('outgoingAuth'));
  const backends = servers.flatMap(
    (server) => memberOf(server, memberHeaders(server, outgoing, found), true)?.backend ?? [],
  );
  const endpoints = servers.map(({ name, spec, root }): Endpoint => {
    const view = spec.at('toolConfigRef');
    const tools: Aggregation['tools'] = new Map(view.present ? [[name, readToolConfig(view, found.toolConfigs)]] : []);
    const aggregation: Aggregation = {
      naming: 'bare',
      order: [],
      tools,
      denyUnlisted: false,
      excludeAll: false,
      from: root.path,
    };
    return { path: servers.length === 1 ? '/mcp' : `/${name}/mcp`, servers: [name], aggregation };
  });
  return {
    kind: 'MCPServer',
    namespace: first.namespace,
    name: first.name,
    from: first.root.path,
    auth: authOf(servers, found),
    backends,
    endpoints,
    limits: servers.flatMap(limitsOf),
    storage: storageOf(servers),
    settings: readSettings(...servers.map(({ root }) => root.at('metadata').at('annotations'))),
  };
}

/** Who may call MCPServers by themselves: those of one provider, with one audience, as a gateway has one list of them. */
function authOf(servers: readonly Manifest[], found: Manifests): Model['auth'] {
  const guarded = servers.filter(({ spec }) => AUTH_KINDS.some((key) => spec.at(key).present));
  // ToolHive runs such a server under a synthetic local user.
  if (guarded[0] === undefined) return { type: 'local', at: servers[0]!.root };
  const references = guarded.map(({ spec }) => spec.at('oidcConfigRef'));
  const oidc = () => {
    const place = ({ value }: Cursor) => JSON.stringify(value ?? null);
    const other = references.find((reference) => place(reference) !== place(references[0]!));
    other?.refuse('Servers of one file have one provider and audience.', 'Serve each from a file of its own.');
    const [embedded] = guarded.filter(({ spec }) => !spec.at('oidcConfigRef').present);
    if (embedded === undefined) return found.oidc(references[0]!);
    embedded.spec
      .at('authServerRef')
      .refuse('authServerRef is not in this version of Tollgate.', 'Write oidcConfigRef.');
    return undefined;
  };
  return { type: 'oidc', at: references[0]!, oidc };
}

/** The block of a MCPServer: names of tools are the server's own. */
function limitsOf({ kind, spec, name, namespace }: Manifest): Model['limits'] {
  if (kind !== 'MCPServer') return [];
  const block = spec.at('rateLimiting');
  checkStorage(spec.at('sessionStorage'), false);
  checkServerLimits(block, spec.at('sessionStorage'), spec);
  const patternsOf = (tool: string) => [exactly(name, tool)];
  return block.present
    ? [{ block, owner: { namespace, server: name, prefix: `server_${name}_`, only: name, patternsOf } }]
    : [];
}

function presentOf(cursor: Cursor): Cursor | undefined {
  return cursor.present ? cursor : undefined;
}

/** One Redis has all limits of a gateway. */
function storageOf(manifests: readonly Manifest[]): Cursor | undefined {
  const limited = manifests.filter(({ kind, spec }) => kind === 'MCPServer' && spec.at('rateLimiting').present);
  const storages = limited.map(({ spec }) => spec.at('sessionStorage')).filter((cursor) => cursor.present);
  const place = (cursor: Cursor) => JSON.stringify([cursor.at('address').value, cursor.at('db').value ?? 0]);
  const other = storages.find((cursor) => place(cursor) !== place(storages[0]!));
  other?.refuse('All limits of a gateway are in one Redis.', 'Write the same address and db, or serve two files.');
  return storages[0];
}
