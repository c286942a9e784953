import type { AuthorizationServer } from '@tollgate/testkit/authorization-server';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { identityAssertionId, readIdentityAssertion } from '../core/identity-assertion.ts';
import { type BridgeUnderTest, CLIENT_REDIRECT, entryOf, startBridge, startIdp, TestClient } from './testing.ts';

let idp: AuthorizationServer;
let at: BridgeUnderTest;
beforeAll(async () => {
  idp = await startIdp();
});
afterAll(() => idp[Symbol.asyncDispose]());
beforeEach(async () => {
  idp.user = 'ada';
  idp.refuse = false;
  at = await startBridge([entryOf(idp)]);
});
afterEach(() => at[Symbol.asyncDispose]());

describe('the way of a person', () => {
  it('leads from a client over our page and the provider back to it, with tokens for one endpoint', async () => {
    const client = new TestClient(at, await at.register());
    const answer = await client.code();
    expect(answer.get('state')).toBe(client.state);
    expect(answer.get('iss')).toBe(at.base);
    const { status, body } = await client.redeem(answer.get('code'));
    expect(status).toBe(200);
    expect(body).toMatchObject({ token_type: 'Bearer', expires_in: 1800, scope: 'read' });
    const opened = await at.bridge.open(String(body['access_token']));
    expect(opened).toMatchObject({
      entry: 'corp',
      clientId: client.id,
      resource: `${at.base}/mcp`,
      scopes: ['read'],
      claims: { sub: 'ada', org: 'acme', groups: ['dev'], iss: idp.issuer },
    });
    const kept = readIdentityAssertion(await at.secrets.get(identityAssertionId('corp/ada', 'corp')));
    expect(kept).toMatchObject({ issuer: idp.issuer, clientId: 'tollgate' });
    expect(kept?.refreshToken).toBeDefined();
    expect(CLIENT_REDIRECT).toBeTruthy();
  });
});
