/**
 * Asks the identity provider who is at a browser, for pages of the gateway that must know. The sign-in gives nobody a
 * token: what the provider says is looked at and forgotten.
 */
import { TollgateError } from '../core/errors.ts';
import { randomId } from '../core/ids.ts';
import type { BridgeParts, Person } from './contract.ts';
import { refusal } from './errors.ts';
import { type BridgeEntry, MAX_SIGN_INS, STATE_LIFE } from './options.ts';
import { digestOf, randomText, seal, unseal } from './tokens.ts';

/** Sealed under the state, for this use alone: a client's sign-in never opens it, nor this one a client's. */
const PURPOSE = 'proof';

interface Asked {
  readonly entry: string;
  readonly nonce: string;
  readonly verifier: string;
  readonly redirectUri: string;
}

export interface ProofAnswer {
  readonly code: string | undefined;
  readonly iss: string | undefined;
  readonly error: string | undefined;
}

export class Proof {
  readonly #parts: BridgeParts;

  constructor(parts: BridgeParts) {
    this.#parts = parts;
  }

  /** Host of the provider of an entry; undefined: it has no bridge. */
  host(entry: string): string | undefined {
    const known = this.#parts.view().entries.get(entry);
    return known === undefined ? undefined : new URL(known.issuer).host;
  }

  /** The provider's page; it sends the browser to the callback of the entry, with `state`, of 256 random bits. */
  async begin(name: string, state: string): Promise<URL> {
    const { clock, records, view, provider } = this.#parts;
    const entry = this.#entryOf(name);
    const redirectUri = `${view().base}/oauth/callback/${name}`;
    const asked: Asked = { entry: name, nonce: randomText(), verifier: randomText(), redirectUri };
    const page = await provider(entry).authorizationUrl({ ...asked, state, once: true });
    const at = clock.wall();
    const sealed = seal(state, PURPOSE, asked);
    const item = { digest: digestOf(state), kind: 'state', sealed, at, expiresAt: at + STATE_LIFE } as const;
    if (!(await records.put(item, MAX_SIGN_INS))) {
      throw refusal('temporarily_unavailable', 'Too many people are signing in now.', { retryAfterSeconds: 60 });
    }
    return page;
  }

  /** Who signed in; undefined: nobody whom the entry lets in. Rejects for a state that is over, used or of another entry. */
  async finish(name: string, state: string, answer: ProofAnswer): Promise<Person | undefined> {
    const { records, clock, log, person, provider } = this.#parts;
    const kept = await records.find(digestOf(state), 'state');
    const asked = kept === undefined ? undefined : unseal<Asked>(state, PURPOSE, kept.sealed);
    if (kept === undefined || asked === undefined || asked.entry !== name) {
      throw refusal('invalid_request', 'This sign-in was not begun here.');
    }
    const at = clock.wall();
    const first = await records.use({ digest: kept.digest, by: randomId(26), at, items: [] });
    if (!first || kept.expiresAt <= at)
      throw refusal('invalid_request', 'This sign-in is over, or was finished before.');
    const from = provider(this.#entryOf(name));
    await from.checkIssuer(answer.iss);
    const { code, iss } = answer;
    if (answer.error !== undefined || code === undefined) {
      throw refusal('access_denied', 'The identity provider did not sign you in.');
    }
    try {
      const { redirectUri, nonce, verifier } = asked;
      const { claims } = await from.redeem({ code, iss, redirectUri, nonce, verifier });
      return person(name, claims);
    } catch (cause) {
      const error = TollgateError.from(cause);
      if (error.code === 'oauth_refused') throw error;
      log.warn({ err: error.cause ?? error, entry: name }, 'a sign-in that should prove who somebody is failed');
      throw refusal('server_error', 'The identity provider did not say who you are.', { cause, http: 400 });
    }
  }

  #entryOf(name: string): BridgeEntry {
    const entry = this.#parts.view().entries.get(name);
    if (entry === undefined) throw refusal('invalid_request', 'This way to sign in is not configured any more.');
    return entry;
  }
}
