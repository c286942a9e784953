/** The `config.yaml` that ToolHive's operator generates for a VirtualMCPServer, and that its command line reads. */
import { isRecord } from '../values.ts';
import { checkStorage, checkVirtualLimits } from './admission-rules.ts';
import { advertisedPatterns, readAggregation } from './aggregation.ts';
import { readOperational, readOutgoingAuth, readStaticBackend } from './backends.ts';
import type { Cursor } from './cursor.ts';
import { readInlineOidc } from './incoming-oidc.ts';
import type { IncomingAuth, Model, ReadOptions } from './model.ts';
import { readSettings } from './settings.ts';

const OWN_KEYS = ['groupRef', 'incomingAuth', 'outgoingAuth'];
const TOLLGATE_KEYS = ['version', 'servers', 'endpoints', 'limits', 'mcpServers'];

/** Keys of `config`, as in the generated file so in a manifest. */
export const CONFIG_KEYS = {
  used: ['name', 'groupRef', 'aggregation', 'operational', 'metadata', 'rateLimiting'],
  later: ['compositeTools', 'compositeToolRefs', 'telemetry', 'audit', 'optimizer', 'codeMode', 'passthroughHeaders'],
} as const;

/** True for a file that only ToolHive could mean. */
export function isGeneratedFile(value: unknown): boolean {
  return isRecord(value) && OWN_KEYS.some((key) => key in value) && !TOLLGATE_KEYS.some((key) => key in value);
}

export function readGenerated(root: Cursor, options: ReadOptions): Model {
  root.strict({
    used: [...CONFIG_KEYS.used, 'backends', 'incomingAuth', 'outgoingAuth', 'sessionStorage'],
    later: CONFIG_KEYS.later,
  });
  const name = root.at('name').text() ?? options.env['VMCP_NAME'] ?? '';
  if (name === '') root.refuse('name is required', 'Write name: my-vmcp.');
  const namespace = options.env['VMCP_NAMESPACE'] || 'local';
  const timeoutOf = readOperational(root.at('operational'));
  const headersOf = readOutgoingAuth(root.at('outgoingAuth'), options);
  const backends = root
    .at('backends')
    .items()
    .flatMap((backend) => readStaticBackend(backend, headersOf, timeoutOf) ?? []);
  if (backends.length === 0) {
    root
      .at('backends')
      .refuse(
        'There is no server in this file: ToolHive would find them through Kubernetes.',
        'Write `backends` with name, url and transport of each, or serve the manifests.',
      );
  }
  const aggregation = readAggregation(root.at('aggregation'), undefined);
  const storage = root.at('sessionStorage');
  const block = root.at('rateLimiting');
  const auth = readIncomingAuth(root.at('incomingAuth'));
  checkStorage(storage, true);
  checkVirtualLimits(block, storage, auth?.type, true);
  const servers = backends.map((backend) => backend.name);
  return {
    kind: 'VirtualMCPServer',
    namespace,
    name,
    from: root.path,
    auth,
    backends,
    endpoints: [{ path: '/mcp', servers, aggregation }],
    limits: block.present ? [{ block, owner: virtualOwner(namespace, name, servers, aggregation) }] : [],
    storage: block.present && storage.present ? storage : undefined,
    settings: readSettings(root.at('metadata')),
  };
}

export function virtualOwner(
  namespace: string,
  server: string,
  servers: readonly string[],
  aggregation: Parameters<typeof advertisedPatterns>[2],
): Model['limits'][number]['owner'] {
  const patternsOf = (tool: string) => advertisedPatterns(tool, servers, aggregation);
  return { namespace, server, prefix: '', only: undefined, patternsOf };
}

function readIncomingAuth(cursor: Cursor): Model['auth'] {
  if (!cursor.present) {
    cursor.refuse('incomingAuth is required', 'Write incomingAuth: { type: anonymous }.');
    return undefined;
  }
  // Without its policies calls would pass that ToolHive refuses.
  cursor.strict({ used: ['type', 'oidc'], later: ['authz'] });
  const type = readAuthType(cursor, ['oidc', 'anonymous', 'local']);
  cursor.at('oidc').strict({
    used: [
      'issuer',
      'clientId',
      'clientSecretEnv',
      'audience',
      'resource',
      'jwksUrl',
      'introspectionUrl',
      'scopes',
      'protectedResourceAllowPrivateIp',
      'jwksAllowPrivateIp',
      'insecureAllowHttp',
      'caBundlePath',
    ],
  });
  if (type === 'oidc' && !cursor.at('oidc').present) {
    cursor.refuse("incomingAuth.oidc is required when type is 'oidc'");
  }
  return type === undefined ? undefined : { type, at: cursor, oidc: () => readInlineOidc(cursor.at('oidc')) };
}

export function readAuthType(cursor: Cursor, types: readonly IncomingAuth[]): IncomingAuth | undefined {
  const text = cursor.at('type').text();
  const type = types.find((one) => one === text);
  if (type === undefined) cursor.at('type').refuse(`incomingAuth.type must be one of: ${types.join(', ')}`);
  return type;
}
