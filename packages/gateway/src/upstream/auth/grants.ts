/**
 * What sign-ins at servers leave behind, in the vault: tokens under their owner (the gateway or one principal), and
 * registrations of the gateway as a client, by issuer. A client id or token means nothing to another issuer, and a
 * token is never sent to another URL than the one it was made for.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { TollgateError } from '../../core/errors.ts';
import type { SecretId, SecretOwner, Secrets } from '../../core/secrets.ts';

const Tokens = z.object({
  accessToken: z.string(),
  refreshToken: z.string().optional(),
  /** As granted; absent: as asked for (RFC 6749 section 5.1). */
  scope: z.string().optional(),
  /** Milliseconds since the epoch, some time before the end; absent when the authorization server named none. */
  useUntil: z.number().optional(),
});

const StoredGrant = z.object({
  version: z.literal(1),
  /** URL of the server at sign-in. */
  url: z.string(),
  issuer: z.string(),
  tokenEndpoint: z.string(),
  /** How clients authenticate there, as its metadata said. */
  authMethods: z.array(z.string()).optional(),
  /** Resource indicator of the tokens (RFC 8707). */
  resource: z.string().optional(),
  /** With which the tokens were got, and can be refreshed. */
  client: z.looseObject({ client_id: z.string() }),
  /** Absent: the authorization server has ended the sign-in. */
  tokens: Tokens.optional(),
  /** Scopes of the last sign-in. */
  askedScope: z.string().optional(),
  /** Scopes that the server found missing since: the next sign-in asks for them too. */
  wantedScope: z.string().optional(),
  /** Milliseconds since the epoch. */
  signedInAt: z.number(),
});

export type Grant = z.infer<typeof StoredGrant>;
export type GrantTokens = z.infer<typeof Tokens>;

const Registration = z.object({
  issuer: z.string(),
  client: z.looseObject({ client_id: z.string() }),
  redirectUris: z.array(z.string()),
});
export type Registration = z.infer<typeof Registration>;

export const GATEWAY: SecretOwner = { kind: 'gateway' };

export function principalOwner(principal: string): SecretOwner {
  return { kind: 'principal', principal };
}

export function grantId(server: string, owner: SecretOwner): SecretId {
  return { owner, purpose: 'upstream-token', name: server };
}

/** Who has signed in at one server. All methods reject with `vault_unavailable` where the vault cannot be used. */
export class Grants {
  readonly #secrets: Secrets;

  constructor(secrets: Secrets) {
    this.#secrets = secrets;
  }

  /** Undefined: nobody has signed in, or for another URL. */
  async read(server: string, owner: SecretOwner, url: string): Promise<Grant | undefined> {
    const text = await this.#secrets.get(grantId(server, owner), 'call');
    const grant = text === undefined ? undefined : parsed(StoredGrant, text, server);
    return grant?.url === url ? grant : undefined;
  }

  async write(server: string, owner: SecretOwner, grant: Grant, by: string): Promise<void> {
    await this.#secrets.put(grantId(server, owner), JSON.stringify(grant), {
      by,
      labels: {
        server,
        issuer: grant.issuer,
        scope: grant.tokens?.scope ?? grant.askedScope ?? '',
        signedInAt: String(grant.signedInAt),
      },
    });
  }

  /**
   * Replaces a grant by what `change` makes of it, alone among all gateways: a refresh token is used once. Returning
   * the same object writes nothing; what `change` throws changes nothing.
   */
  update(
    server: string,
    owner: SecretOwner,
    url: string,
    change: (grant: Grant | undefined) => Promise<Grant>,
  ): Promise<Grant> {
    return this.#secrets.exclusive(grantId(server, owner), async () => {
      const old = await this.read(server, owner, url);
      const grant = await change(old);
      if (grant !== old) await this.write(server, owner, grant, 'gateway');
      return grant;
    });
  }

  /** When the owner last signed in, in milliseconds since the epoch; undefined: not, or it was revoked. */
  async signedInAt(server: string, owner: SecretOwner): Promise<number | undefined> {
    const info = await this.#secrets.info(grantId(server, owner));
    const at = Number(info?.labels['signedInAt']);
    return info?.state === 'active' && Number.isFinite(at) ? at : undefined;
  }

  /** False: there was none. */
  remove(server: string, owner: SecretOwner, by: string): Promise<boolean> {
    return this.#secrets.remove(grantId(server, owner), by);
  }

  /** The gateway's registration at an issuer for this kind of redirect; undefined: none, or for another redirect. */
  async registration(server: string, issuer: string, redirectUrl: string): Promise<Registration | undefined> {
    const text = await this.#secrets.get(registrationId(server, issuer, redirectUrl), 'sign-in');
    const known = text === undefined ? undefined : parsed(Registration, text, server);
    return known?.issuer === issuer ? known : undefined;
  }

  async register(server: string, redirectUrl: string, registration: Registration): Promise<void> {
    const { issuer } = registration;
    await this.#secrets.put(registrationId(server, issuer, redirectUrl), JSON.stringify(registration), {
      by: 'gateway',
      labels: { server, issuer },
    });
  }
}

/** Loopback redirects (the command line) and the gateway's page are registered apart: `native` and `web` clients. */
function registrationId(server: string, issuer: string, redirectUrl: string): SecretId {
  const kind = redirectUrl.startsWith('http://127.0.0.1:') ? 'native' : 'web';
  const place = createHash('sha256').update(issuer).digest('hex').slice(0, 32);
  return { owner: GATEWAY, purpose: 'upstream-client', name: `${server}/${kind}/${place}` };
}

function parsed<Schema extends z.ZodType>(schema: Schema, text: string, server: string): z.output<Schema> | undefined {
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    // The cause would quote the secret.
    throw new TollgateError(
      'server_login_required',
      `${server}: what the vault holds of its sign-in cannot be read; sign in again`,
    );
  }
}
