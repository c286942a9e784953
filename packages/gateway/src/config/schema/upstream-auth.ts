/** How the gateway gets the tokens that it sends to a server. */
import * as z from 'zod';
import { choice, list, message, secret, section, text } from './kit.ts';
import { operatorUrl, scopeName } from './names.ts';

const scopes = () => list(scopeName(), 'scopes', '[mcp:read]').prefault([]);
const clientId = () => text('a client id', 'tollgate');
const clientSecret = () =>
  secret('a client secret', '"${env:CLIENT_SECRET}"').optional().describe('Its secret. Never shown.');

const client = {
  issuer: operatorUrl('https://as.example').describe(
    'The authorization server at which the client is registered; its secret goes nowhere else.',
  ),
  clientId: clientId().describe('The gateway’s client there.'),
  clientSecret: clientSecret(),
  privateKey: secret('a private key in PEM', '"${file:/run/secrets/client.pem}"')
    .optional()
    .describe('In place of a secret: PKCS #8 in PEM, for signed client assertions (RFC 7523). Never shown.'),
  algorithm: choice(['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'])
    .optional()
    .describe('Of the assertions. Default: told by the key (RS256, ES256, ES384, EdDSA).'),
  scopes: scopes().describe('Asked for besides what the server’s challenge names.'),
};

const oauth = section({
  mode: choice(['gateway', 'user'])
    .prefault('gateway')
    .describe(
      '`gateway`: one sign-in for all callers, by `tollgate login NAME`. `user`: each caller connects an account.',
    ),
  issuer: operatorUrl('https://as.example')
    .optional()
    .describe('The only authorization server to sign in at. Default: the one that the server names.'),
  clientId: clientId()
    .optional()
    .describe('A client registered by hand at `issuer`. Default: CIMD, else registration.'),
  clientSecret: clientSecret(),
  clientMetadataUrl: operatorUrl('https://gw.example/connect/client/metadata.json')
    .optional()
    .describe('A client id metadata document (HTTPS). Default: the gateway’s own, where `publicUrl` is HTTPS.'),
  scopes: scopes().describe('Asked for besides what the server’s challenge names.'),
});

const clientCredentials = section(client);

const tokenExchange = section({
  tokenEndpoint: operatorUrl('https://sts.example/token').describe('Where the caller’s token is exchanged.'),
  clientId: clientId().optional().describe('The gateway’s client there.'),
  clientSecret: clientSecret(),
  audience: text('an audience', 'notes')
    .optional()
    .describe('`audience` of the request, beside `resource`, which is the server.'),
  scopes: scopes().describe('Asked for.'),
  subjectToken: choice(['access_token', 'id_token', 'jwt'])
    .prefault('access_token')
    .describe('What is exchanged: the caller’s own token, or the ID token of its sign-in through `bridge`.'),
  requestedToken: choice(['access_token', 'jwt']).optional().describe('Wanted type. Default: the endpoint’s choice.'),
});

const enterprise = section({
  idp: section({
    tokenEndpoint: operatorUrl('https://idp.example/token').describe('Token endpoint of the identity provider.'),
    clientId: clientId().describe('The gateway’s client there.'),
    clientSecret: clientSecret(),
  }).describe('Where the person’s ID token becomes an identity assertion grant (ID-JAG).'),
  ...client,
});

const full = section({
  oauth: oauth.optional().describe('A person signs in with a browser.'),
  clientCredentials: clientCredentials
    .optional()
    .describe('The gateway itself is the client. Beside a grant per caller: what lists are read with.'),
  tokenExchange: tokenExchange.optional().describe('The caller’s token is exchanged for one of the server (RFC 8693).'),
  enterprise: enterprise.optional().describe('Enterprise-managed authorization (SEP-990).'),
});

export const upstreamAuth = z.union([choice(['oauth']), full], {
  error: message('Must be oauth or a map.', 'For example oauth, or { oauth: { mode: user } }.'),
});
