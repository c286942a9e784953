/** What the bridge is handed, and what its parts share. */
import type { BridgeRecords } from '../core/bridge-records.ts';
import type { Clock } from '../core/clock.ts';
import type { Egress } from '../core/egress.ts';
import type { Log } from '../core/log.ts';
import type { Secrets } from '../core/secrets.ts';
import type { Clients } from './clients.ts';
import type { BridgeEntry, BridgeView } from './options.ts';
import type { Provider } from './provider.ts';

/** Who the claims of an entry are, by its `map`. */
export interface Person {
  /** Of the principal. */
  readonly principal: string;
  /** Scopes that the claims carry. */
  readonly scopes: readonly string[];
}

export interface BridgeDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly egress: Egress;
  readonly records: BridgeRecords;
  /** Where what the provider said of a person is kept; undefined: it is not, and nobody is asked again. */
  readonly secrets: Secrets | undefined;
  /** 32 secret bytes, shared by the gateways of one storage. */
  readonly key: () => Uint8Array;
  /** The configuration in force. */
  readonly view: () => BridgeView;
  /** Undefined: the entry does not let such a person in. */
  readonly person: (entry: string, claims: Readonly<Record<string, unknown>>) => Person | undefined;
  /** A sign-in was ended: what is open for its tokens may be closed. */
  readonly onEnd?: (() => void) | undefined;
  /** To the provider at this origin, which the operator wrote, and to what it names elsewhere, in public only. */
  readonly toProvider?: ((origin: string) => Egress) | undefined;
}

export interface BridgeParts extends BridgeDeps {
  readonly clients: Clients;
  readonly provider: (entry: BridgeEntry) => Provider;
}

/** What an access token stands for, and a refresh token can get again. */
export interface Grant {
  readonly entry: string;
  readonly clientId: string;
  readonly resource: string;
  readonly scopes: readonly string[];
  /** Of the ID token: what the provider said at the sign-in, or when it was last asked. */
  readonly claims: Readonly<Record<string, unknown>>;
}

/** What waits for its client behind an authorization code. */
export interface CodeGrant extends Grant {
  readonly redirectUri: string;
  readonly challenge: string;
  readonly principal: string;
  /** Whether the provider can be asked again whether the person may still be here. */
  readonly renewable: boolean;
}

export interface RefreshGrant extends Grant {
  readonly principal: string;
  readonly renewable: boolean;
  readonly signedInAt: number;
}
