/**
 * Who asks to act for a person: programs that nobody here has registered. A client is known by a document under its own
 * URL (client id metadata document), or by what it said of itself at registration (RFC 7591). Neither proves anything but
 * where it is sent back to; the consent page says so.
 */
import type { BridgeRecords } from '../core/bridge-records.ts';
import type { Clock } from '../core/clock.ts';
import type { Egress } from '../core/egress.ts';
import { TollgateError } from '../core/errors.ts';
import { randomId } from '../core/ids.ts';
import { keepNewest } from '../core/keep-newest.ts';
import { oneLine } from '../core/plain-text.ts';
import { refusal } from './errors.ts';
import { CLIENT_LIFE, MAX_CLIENTS, UNUSED_CLIENT_LIFE } from './options.ts';
import { redirectProblem } from './redirects.ts';

export interface Client {
  readonly id: string;
  /** What it calls itself: not verified. */
  readonly name: string;
  /** Host of its document, which is verified; undefined: it registered itself. */
  readonly host: string | undefined;
  readonly redirectUris: readonly string[];
}

const MAX_NAME = 100;
const MAX_URIS = 20;
const MAX_DOCUMENT = 16 * 1024;
const DOCUMENT_TIMEOUT = 5_000;
const DOCUMENT_LIFE = 10 * 60_000;
/** A document that could not be had is not asked for again at once, whoever insists. */
const FAILURE_LIFE = 30_000;
const MAX_DOCUMENTS = 1000;
const REGISTERED = /^tgd_[0-9a-z]{26}$/;

interface ClientDeps {
  readonly clock: Clock;
  readonly egress: Egress;
  readonly records: BridgeRecords;
}

interface KnownDocument {
  readonly until: number;
  readonly client: Promise<Client>;
}

export class Clients {
  readonly #deps: ClientDeps;
  readonly #documents = new Map<string, KnownDocument>();

  constructor(deps: ClientDeps) {
    this.#deps = deps;
  }

  /** The client of an id. Rejects with `invalid_client`, or `temporarily_unavailable` for a document that is away. */
  async resolve(id: string): Promise<Client> {
    if (id.startsWith('https://')) return this.#document(id);
    const registered = REGISTERED.test(id) ? await this.#deps.records.client(id, this.#deps.clock.wall()) : undefined;
    if (registered === undefined) {
      throw refusal(
        'invalid_client',
        'This client is not registered here, or its registration is over: register again.',
      );
    }
    const { name, redirectUris } = JSON.parse(registered.json) as Pick<Client, 'name' | 'redirectUris'>;
    return { id, name, host: undefined, redirectUris };
  }

  /** RFC 7591; the answer is what was registered. Rejects with its errors. */
  async register(metadata: unknown): Promise<Record<string, unknown>> {
    const { name, redirectUris } = described(metadata, 'self-registered client');
    const at = this.#deps.clock.wall();
    const id = `tgd_${randomId(26)}`;
    const json = JSON.stringify({ name, redirectUris });
    const kept = await this.#deps.records.register({ id, json, at, expiresAt: at + UNUSED_CLIENT_LIFE }, MAX_CLIENTS);
    if (!kept) {
      throw refusal('temporarily_unavailable', 'All registrations are taken.', { retryAfterSeconds: 3600 });
    }
    return {
      client_id: id,
      client_id_issued_at: Math.floor(at / 1000),
      client_name: name,
      redirect_uris: redirectUris,
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    };
  }

  /** A person signed in through it: its registration lasts longer. */
  async used(id: string): Promise<void> {
    if (!REGISTERED.test(id)) return;
    const at = this.#deps.clock.wall();
    await this.#deps.records.clientUsed(id, at, at + CLIENT_LIFE);
  }

  #document(id: string): Promise<Client> {
    const url = documentUrl(id);
    const now = this.#deps.clock.wall();
    const known = this.#documents.get(id);
    if (known !== undefined && known.until > now) return known.client;
    this.#documents.delete(id);
    const client = this.#fetch(url, id);
    this.#documents.set(id, { until: now + DOCUMENT_LIFE, client });
    keepNewest(this.#documents, MAX_DOCUMENTS);
    client.catch(() => {
      if (this.#documents.get(id)?.client === client) this.#documents.set(id, { until: now + FAILURE_LIFE, client });
    });
    return client;
  }

  async #fetch(url: URL, id: string): Promise<Client> {
    let document: unknown;
    try {
      const response = await this.#deps.egress(url, {
        headers: { accept: 'application/json' },
        maxBytes: MAX_DOCUMENT,
        timeout: DOCUMENT_TIMEOUT,
      });
      const type = response.headers.get('content-type') ?? '';
      if (response.status !== 200 || !/^application\/(?:[\w.+-]+\+)?json\b/i.test(type)) {
        throw refusal('invalid_client', 'The URL of this client id does not answer with a JSON document.');
      }
      document = JSON.parse(await response.text());
    } catch (cause) {
      if (TollgateError.is(cause) && cause.code === 'oauth_refused') throw cause;
      throw refusal('invalid_client', 'The document of this client id cannot be read.', { cause });
    }
    const { client_id: said, token_endpoint_auth_method: method } = (document ?? {}) as Record<string, unknown>;
    if (said !== id) {
      throw refusal('invalid_client', 'The document of this client id names another client_id.');
    }
    if (method !== undefined && method !== 'none') {
      // Taken as a public client it would be weaker than its author thinks.
      throw refusal('invalid_client', 'Only public clients (token_endpoint_auth_method none, with PKCE) are served.');
    }
    const { name, redirectUris } = described(document, url.host, usable);
    return { id, name, host: url.host, redirectUris };
  }
}

/** Draft client-id-metadata-document, section 3: https, a path, no dot segments, no user, no fragment. */
function documentUrl(id: string): URL {
  const url = /^https:\/\/[A-Za-z0-9\-._~:/?[\]!$&'()*+,;=%]{1,2040}$/.test(id) ? URL.parse(id) : null;
  const path = id.replace(/^https:\/\/[^/?]*/, '').split('?')[0]!;
  const dots = path.split('/').some((segment) => /^(?:\.|%2e){1,2}$/i.test(segment));
  if (url === null || url.pathname === '/' || url.href !== id || dots) {
    throw refusal('invalid_client', 'A client id that is a URL is https with a path, written in its plainest form.');
  }
  return url;
}

/** What both ways of being known have in common. A public client only: the gateway gives no secrets to strangers. */
function described(
  metadata: unknown,
  fallback: string,
  select: (uris: readonly unknown[]) => readonly unknown[] = (uris) => uris,
): Pick<Client, 'name' | 'redirectUris'> {
  if (typeof metadata !== 'object' || metadata === null || Array.isArray(metadata)) {
    throw refusal('invalid_client_metadata', 'Client metadata is a JSON object.');
  }
  const data = metadata as Readonly<Record<string, unknown>>;
  const given = data['redirect_uris'];
  const uris = Array.isArray(given) ? select(given) : undefined;
  if (uris === undefined || uris.length === 0 || uris.length > MAX_URIS) {
    throw refusal('invalid_redirect_uri', `redirect_uris is a list of 1 to ${MAX_URIS} URIs.`);
  }
  for (const uri of uris) {
    const problem = redirectProblem(uri);
    if (problem !== undefined) throw refusal('invalid_redirect_uri', `Not a redirect URI here: ${problem}.`);
  }
  requireOne(data, 'grant_types', 'authorization_code');
  requireOne(data, 'response_types', 'code');
  const name = data['client_name'];
  if (name !== undefined && typeof name !== 'string') {
    throw refusal('invalid_client_metadata', 'client_name is a text.');
  }
  return { name: shown(name) || fallback, redirectUris: uris as string[] };
}

/** A document is written for every authorization server: what is of no use here (other schemes) is left out. */
function usable(uris: readonly unknown[]): readonly unknown[] {
  return uris.slice(0, 100).filter((uri) => redirectProblem(uri) === undefined);
}

function requireOne(data: Readonly<Record<string, unknown>>, member: string, value: string): void {
  const list = data[member];
  if (list === undefined || (Array.isArray(list) && list.includes(value))) return;
  throw refusal('invalid_client_metadata', `${member} must have ${value}: nothing else is offered here.`);
}

/** A name that cannot steer the page it is shown on, nor hide what stands after it. */
function shown(name: string | undefined): string {
  const plain = oneLine((name ?? '').toWellFormed()).replace(/\p{Cf}|\p{Co}/gu, '');
  const text = plain.replace(/\s+/g, ' ').trim();
  return text.length > MAX_NAME ? `${text.slice(0, MAX_NAME - 1)}…` : text;
}
