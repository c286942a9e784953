/** Servers of a group: where each is reached, and which headers it gets. */
import { fromVariable } from './backends.ts';
import type { Cursor } from './cursor.ts';
import type { Manifest, Manifests } from './manifests.ts';
import type { Backend, HeaderValue, ReadOptions } from './model.ts';

export interface Member {
  readonly manifest: Manifest;
  readonly backend: Backend;
}

/** Keys of a MCPServer by which its own proxy asks who calls. */
export const AUTH_KINDS = ['oidcConfigRef', 'authServerRef'] as const;

/** Who refers to credentials of a server. */
export interface Outgoing {
  readonly discovered: boolean;
  readonly fallback: Cursor;
  readonly backends: Cursor;
}

const PODS = [
  'image',
  'mcpPort',
  'port',
  'targetPort',
  'args',
  'env',
  'volumes',
  'resources',
  'secrets',
  'serviceAccount',
  'permissionProfile',
  'podTemplateSpec',
  'resourceOverrides',
  'trustProxyHeaders',
  'sessionAffinity',
  'replicas',
  'backendReplicas',
];
const GUARDS = ['authzConfig', 'authzConfigRef', 'webhookConfigRef', 'authServerRef'];
const REPORTS = ['audit', 'telemetryConfigRef'];

export function readOutgoing(cursor: Cursor): Outgoing {
  cursor.strict({ used: ['source', 'default', 'backends'] });
  const source = cursor.at('source').choice(['discovered', 'inline'], 'discovered');
  return { discovered: source === 'discovered', fallback: cursor.at('default'), backends: cursor.at('backends') };
}

/** What `outgoingAuth` says of a server: its own entry, then what the server names itself, then the default. */
export function memberHeaders(manifest: Manifest, outgoing: Outgoing, found: Manifests): HeaderValue[] {
  const own = outgoing.backends.at(manifest.name);
  const named = manifest.spec.at('externalAuthConfigRef');
  const forwarded = headerForward(manifest, found.options);
  if (own.present) return [...forwarded, ...strategyHeaders(own, named, found)];
  if (outgoing.discovered && named.present) return [...forwarded, ...externalHeaders(named, found)];
  return outgoing.fallback.present ? [...forwarded, ...strategyHeaders(outgoing.fallback, named, found)] : forwarded;
}

function strategyHeaders(cursor: Cursor, named: Cursor, found: Manifests): HeaderValue[] {
  cursor.strict({ used: ['type', 'externalAuthConfigRef'] });
  const type = cursor.at('type').choice(['discovered', 'externalAuthConfigRef'], 'discovered');
  if (type === 'externalAuthConfigRef') return externalHeaders(cursor.at('externalAuthConfigRef'), found);
  return named.present ? externalHeaders(named, found) : [];
}

function externalHeaders(reference: Cursor, found: Manifests): HeaderValue[] {
  const name = reference.at('name').text();
  const config = found.find('MCPExternalAuthConfig', name);
  if (config === undefined || name === undefined) {
    reference.refuse(`There is no MCPExternalAuthConfig "${name ?? ''}" in this file.`, 'Put its manifest into it.');
    return [];
  }
  const { spec } = config;
  const type = spec.at('type').text() ?? '';
  if (type === 'unauthenticated') return [];
  if (type !== 'headerInjection') {
    spec
      .at('type')
      .refuse(`"${type.slice(0, 60)}" is not in this version of Tollgate.`, 'One of unauthenticated, headerInjection.');
    return [];
  }
  spec.strict({ used: ['type', 'headerInjection'] });
  const injection = spec.at('headerInjection');
  injection.strict({ used: ['headerName', 'valueSecretRef'] });
  const header = injection.at('headerName').text();
  if (header === undefined) {
    injection.refuse('Which header?', 'Write headerName.');
    return [];
  }
  return secretHeader(injection, header, `TOOLHIVE_HEADER_INJECTION_VALUE_${variablePart(name)}`, found.options);
}

/** The variables are those that ToolHive's operator gives the pod, so that one environment serves both. */
function secretHeader(at: Cursor, name: string, variable: string, options: ReadOptions): HeaderValue[] {
  const value = fromVariable(at, variable, options);
  return value === undefined ? [] : [{ name, value, variable, from: at.path }];
}

function variablePart(name: string): string {
  return name.toUpperCase().replaceAll(/[^A-Z0-9_]/g, '_');
}

function headerForward({ spec, name, kind }: Manifest, options: ReadOptions): HeaderValue[] {
  if (kind === 'MCPServer') return [];
  const cursor = spec.at('headerForward');
  cursor.strict({ used: ['addPlaintextHeaders', 'addHeadersFromSecret'] });
  const plain = cursor
    .at('addPlaintextHeaders')
    .entries()
    .flatMap(([header, at]): HeaderValue[] => {
      const value = at.text();
      return value === undefined ? [] : [{ name: header, value, variable: undefined, from: at.path }];
    });
  const secret = cursor
    .at('addHeadersFromSecret')
    .items()
    .flatMap((at) => {
      at.strict({ used: ['headerName', 'valueSecretRef'] });
      const header = at.at('headerName').text();
      if (header === undefined) return [];
      const variable = `TOOLHIVE_SECRET_HEADER_FORWARD_${variablePart(header)}_${variablePart(name)}`;
      return secretHeader(at, header, variable, options);
    });
  return [...plain, ...secret];
}

/** `alone`: Tollgate stands in the place of the server's own proxy, so that what only that proxy did is refused. */
export function memberOf(manifest: Manifest, headers: readonly HeaderValue[], alone: boolean): Member | undefined {
  const { kind, name, spec, root } = manifest;
  const place = kind === 'MCPServer' ? placeOfServer(manifest, alone) : placeOfRemote(manifest);
  if (place.url === undefined) {
    spec.refuse('Where is this server?', 'Write remoteUrl.');
    return undefined;
  }
  return {
    manifest,
    backend: { name, url: place.url, sse: place.sse, headers, timeout: undefined, from: root.path },
  };
}

interface Place {
  readonly url: string | undefined;
  readonly sse: boolean;
}

function placeOfServer({ root, spec, name, namespace }: Manifest, alone: boolean): Place {
  const served = [
    'transport',
    'proxyMode',
    'proxyPort',
    'endpointPrefix',
    'groupRef',
    'oidcConfigRef',
    'externalAuthConfigRef',
    'toolConfigRef',
    'sessionStorage',
    'rateLimiting',
  ];
  spec.strict({
    used: served,
    cluster: PODS,
    // Behind a VirtualMCPServer its own proxy goes on doing them.
    ...(alone ? { later: [...GUARDS, ...REPORTS] } : { idle: [...GUARDS, ...REPORTS] }),
  });
  const transport = spec.at('transport').choice(['stdio', 'sse', 'streamable-http'], 'stdio');
  const mode = spec.at('proxyMode').choice(['streamable-http', 'sse'], 'streamable-http');
  const sse = (transport === 'stdio' ? mode : transport) === 'sse';
  const reported = root.at('status').at('url').text();
  if (reported !== undefined) return { url: reported, sse };
  const port = spec.at('proxyPort').whole(1, 65_535) ?? spec.at('port').whole(1, 65_535) ?? 8080;
  const prefix = spec
    .at('endpointPrefix')
    .text()
    ?.replaceAll(/^\/+|\/+$/g, '');
  const path = `${prefix === undefined || prefix === '' ? '' : `/${prefix}`}/${sse ? 'sse' : 'mcp'}`;
  const url = `http://mcp-${name}-proxy.${namespace}.svc.cluster.local:${port}${path}`;
  spec.warn(
    `Tollgate starts no pods; the server is looked for at ${url}.`,
    'A `status.url` in the manifest says another.',
  );
  return { url, sse };
}

function placeOfRemote({ spec, kind }: Manifest): Place {
  const common = ['remoteUrl', 'transport', 'groupRef', 'externalAuthConfigRef', 'headerForward'];
  if (kind === 'MCPServerEntry') {
    spec.strict({ used: common, cluster: ['allowPrivateEndpoint'], later: ['caBundleRef'] });
  } else {
    // What its own proxy did for callers is not done by anybody when Tollgate goes to the remote server itself.
    spec.strict({
      used: common,
      cluster: ['allowPrivateEndpoint', 'proxyPort', 'endpointPrefix', 'sessionStorage', 'oidcConfigRef', ...PODS],
      later: [...GUARDS, ...REPORTS, 'toolConfigRef'],
    });
  }
  return {
    url: spec.at('remoteUrl').text(),
    sse: spec.at('transport').choice(['streamable-http', 'sse'], 'streamable-http') === 'sse',
  };
}
