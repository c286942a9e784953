/** Callers of an identity provider in files of ToolHive: accepted by its issuer, its keys and their one audience. */
import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { loadText } from '../testing.ts';
import { type Block, bucket, compileText, generatedFile } from './testing.ts';

const REDIS = { sessionStorage: { provider: 'redis', address: 'r:6379' } };
const ISSUER = 'https://idp.example';
const LIMITS = { perUser: bucket(1, '1m') };

const generated = (oidc: Block) =>
  generatedFile(LIMITS, { auth: 'anonymous', more: { incomingAuth: { type: 'oidc', oidc } } });

function manifests(reference: Block, spec: Block, more: readonly string[] = []): string {
  const document = (kind: string, name: string, body: Block) =>
    JSON.stringify({ apiVersion: 'toolhive.stacklok.dev/v1beta1', kind, metadata: { name }, spec: body });
  return [
    document('MCPServerEntry', 'gh', {
      groupRef: { name: 'team' },
      remoteUrl: 'http://127.0.0.1:9/mcp',
      transport: 'streamable-http',
    }),
    document('VirtualMCPServer', 'vmcp', {
      groupRef: { name: 'team' },
      incomingAuth: { type: 'oidc', oidcConfigRef: reference },
      ...REDIS,
      config: { rateLimiting: LIMITS },
    }),
    document('MCPOIDCConfig', 'company', spec),
    ...more,
  ].join('\n---\n');
}

const INLINE = { type: 'inline', inline: { issuer: ISSUER, clientId: 'c', clientSecretRef: { name: 's', key: 'k' } } };

describe('incomingAuth of type oidc', () => {
  it('accepts the tokens of its issuer for its audience, in the generated file and in manifests alike', () => {
    verifies('R3-12', 'R3-11');
    const one = generated({ issuer: ISSUER, clientId: 'c', audience: 'team', insecureAllowHttp: false });
    const other = compileText(manifests({ name: 'company', audience: 'team' }, INLINE));
    expect(one.identity.entries).toMatchObject([
      { kind: 'oidc', name: 'oidc', rules: { issuer: ISSUER, audience: ['team'] }, keys: { kind: 'discovery' } },
    ]);
    expect(other.identity.entries).toEqual(one.identity.entries);
    expect(other.admission.limits.map(({ name, by }) => [name, by])).toEqual([['per_user', ['principal']]]);
  });

  it('takes the keys from where the file says, and the address that clients know', () => {
    const jwksUrl = `${ISSUER}/keys`;
    const config = generated({ issuer: ISSUER, audience: 'team', jwksUrl, resource: 'https://gw.example/mcp' });
    expect(config.identity.entries).toMatchObject([
      { kind: 'jwt', rules: { issuer: ISSUER, audience: ['team'] }, keys: { kind: 'url', url: jwksUrl } },
    ]);
    const { publicUrl } = loadText(
      manifests({ name: 'company', audience: 'team', resourceUrl: 'https://gw.example' }, INLINE),
    ).config;
    expect(String(publicUrl)).toMatch(/^https:\/\/gw\.example\/?$/);
  });

  it('says what it does not do', () => {
    const inline = { ...INLINE.inline, introspectionUrl: `${ISSUER}/introspect`, caBundleRef: { name: 'ca' } };
    const reference = {
      name: 'company',
      audience: 'team',
      scopes: ['openid'],
      resourceUrl: 'https://gw.example/other',
    };
    const { warnings } = loadText(manifests(reference, { type: 'inline', inline }));
    const said = warnings.map(({ what }) => what).join(' ');
    expect(said).toContain('only JWTs are accepted');
    expect(said).toContain('It is not read.');
    expect(said).toContain('Clients are not told of these scopes.');
    expect(said).toContain('Clients are told the address of /mcp here instead.');
  });

  it.each([
    ['no such provider', { name: 'other', audience: 'a' }, INLINE, 'There is no MCPOIDCConfig "other" in this file'],
    [
      'a provider elsewhere',
      { name: 'company', audience: 'a' },
      { type: 'configMapRef', configMapRef: { name: 'x' } },
      'Only a provider that stands in the file',
    ],
    ['no audience', { name: 'company' }, INLINE, 'oidcConfigRef.audience is required'],
    [
      'no issuer',
      { name: 'company', audience: 'a' },
      { type: 'inline', inline: { clientId: 'c' } },
      'The provider needs its issuer',
    ],
    [
      'an issuer without TLS',
      { name: 'company', audience: 'a' },
      { type: 'inline', inline: { issuer: 'http://idp.example', insecureAllowHTTP: true } },
      'The URL must begin with https://',
    ],
    [
      'keys behind a token',
      { name: 'company', audience: 'a' },
      { type: 'inline', inline: { ...INLINE.inline, jwksAuthTokenPath: '/t' } },
      '"jwksAuthTokenPath" is not in this version',
    ],
  ])('is refused with %s', (_, reference, spec, message) => {
    expect(() => compileText(manifests(reference, spec))).toThrow(message);
  });

  it('has one audience for all MCPServers of a file', () => {
    const server = (name: string, audience: string) =>
      JSON.stringify({
        apiVersion: 'toolhive.stacklok.dev/v1beta1',
        kind: 'MCPServer',
        metadata: { name },
        spec: { image: 'x', oidcConfigRef: { name: 'company', audience }, ...REDIS, rateLimiting: LIMITS },
        status: { url: 'http://127.0.0.1:9/mcp' },
      });
    const company = JSON.stringify({
      apiVersion: 'toolhive.stacklok.dev/v1beta1',
      kind: 'MCPOIDCConfig',
      metadata: { name: 'company' },
      spec: INLINE,
    });
    const both = (second: string) => compileText([server('a', 'one'), server('b', second), company].join('\n---\n'));
    expect(both('one').identity.entries).toMatchObject([{ rules: { audience: ['one'] } }]);
    expect(() => both('two')).toThrow('Servers of one file have one provider and audience');
  });
});
