import * as z from 'zod';
import { bridge } from './auth-bridge.ts';
import { claimMap, jwt, oidc } from './auth-tokens.ts';
import { flag, list, secret, section, text } from './kit.ts';
import { ruleName, scopeName } from './names.ts';

const LATER = ['mtls', 'introspection'] as const;

const bearer = section({
  token: secret('a token', '"${env:TOKEN}"').describe('The whole credential, at least 16 characters. Never shown.'),
  subject: text('a subject', 'ci')
    .optional()
    .describe('Who it is; the principal is `<entry>/<subject>`. Default: the entry’s name.'),
  roles: list(ruleName('a role', 'operator'), 'roles', '[operator]')
    .prefault([])
    .describe('`user`, `operator`, `auditor` and `admin` open the admin surfaces; others are free names.'),
  scopes: list(scopeName(), 'scopes', '[read_data]')
    .prefault([])
    .describe('Granted scopes; `"*"` and `admin:*` are wildcards.'),
  tenant: text('a tenant', 'acme').optional().describe('Tenant of the principal.'),
  tier: ruleName('a tier', 'basic').optional().describe('Tier of the principal.'),
});

const anonymous = section({
  tier: ruleName('a tier', 'basic').optional().describe('Tier of callers without a credential.'),
  public: flag().prefault(false).describe('Needed to let anybody in when listening beyond loopback.'),
});

const keys = section({
  tier: ruleName('a tier', 'basic').optional().describe('Tier of keys that were made without one.'),
});

const entry = section(
  {
    name: ruleName('a name', 'ci').optional().describe('Name of the entry; required except for `anonymous`.'),
    oidc: oidc
      .optional()
      .describe('Tokens of an OpenID Connect issuer, which is asked for its keys; a URL, or a map with more.'),
    bridge: bridge
      .optional()
      .describe(
        'The gateway as authorization server in front of the `oidc` provider, for MCP clients that cannot register there. The provider sends people back to `<publicUrl>/oauth/callback/<name>`.',
      ),
    jwt: jwt.optional().describe('Signed tokens of one issuer.'),
    map: claimMap
      .optional()
      .describe('What the claims of `jwt` and `oidc` tokens mean. Default: only `sub` and scopes.'),
    bearer: bearer.optional().describe('One static token.'),
    keys: keys
      .optional()
      .describe(
        'API keys that Tollgate issues: `tollgate keys create`. They need `storage`, where their digests are kept.',
      ),
    anonymous: z
      .union([z.literal(true), anonymous], { error: 'Must be true or a map with `tier` and `public`.' })
      .optional()
      .describe('Callers without a credential.'),
  },
  { later: LATER },
);

export const auth = list(entry, 'auth entries', '[{ name: ci, bearer: { token: "${env:TOKEN}" } }]').describe(
  'Who may call, tried in order until one accepts; a credential that none accepts is 401, never anonymous. Absent: anonymous on loopback, refused elsewhere. An empty list: nobody.',
);
