/** `bridge` of an `oidc` entry: the gateway as the one client that its provider knows. */
import { UnitError } from '../units.ts';
import { list, map, message, secret, section, text } from './kit.ts';
import { forbiddenKey, scopeName } from './names.ts';

/** What the gateway itself says to the provider, and what would take the answer somewhere else. */
const OWN = new Set([
  'client_id',
  'client_secret',
  'code_challenge',
  'code_challenge_method',
  'id_token_hint',
  'nonce',
  'redirect_uri',
  'request',
  'request_uri',
  'resource',
  'response_mode',
  'response_type',
  'scope',
  'state',
]);

function parameterProblem(name: string): string | undefined {
  if (OWN.has(name)) return message(`"${name}" is set by the gateway.`, 'Remove it.');
  if (!/^[a-z][a-z0-9_]{0,63}$/.test(name)) {
    return message(`"${name.slice(0, 64)}" is no name of a parameter.`, 'For example access_type.');
  }
  return forbiddenKey(name);
}

export const bridge = section({
  clientId: text('a client id', 'tollgate').describe('Id of the application that was registered at the provider.'),
  clientSecret: secret('a secret', '"${file:/run/secrets/idp}"', (value) => {
    if (!/^[\x21-\x7e]{1,1024}$/.test(value)) {
      throw new UnitError('A client secret is visible ASCII without blanks.', 'Copy it from the provider again.');
    }
    return value;
  }).describe('Its secret. Never shown.'),
  scopes: list(scopeName(), 'scopes', '[read_data]')
    .prefault([])
    .describe(
      'Scopes of this gateway that people may give to their clients, beside those that their claims carry; `"*"` and `admin:*` are wildcards. Default none.',
    ),
  ask: list(scopeName(), 'scopes', '[openid, profile, groups]')
    .optional()
    .describe(
      'What is asked of the provider. Default `openid profile email`, and `offline_access` where its metadata names that.',
    ),
  parameters: map(text('a text', 'offline'), 'parameters', parameterProblem)
    .prefault({})
    .describe('More parameters of the request to the provider, such as `access_type: offline` for Google.'),
});
