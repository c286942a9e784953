import type { Clock } from '../core/clock.ts';
import type { Egress } from '../core/egress.ts';
import type { Log } from '../core/log.ts';
import type { Secrets } from '../core/secrets.ts';
import type { AuthMethod } from '../identity/method.ts';
import type { AuthEntry } from '../identity/options.ts';
import type { Mount } from '../inbound/beside.ts';
import type { TransformRegistry } from '../transform/registry.ts';
import type { SecretSource } from '../upstream/secret-texts.ts';
import type { GatewayState } from './state.ts';

/** What a gateway is given beside its configuration; all but the log may be left out. */
export interface GatewayDeps {
  readonly log: Log;
  /** Default: the system's. */
  readonly clock?: Clock;
  /** The vault. Default: that of `state`. */
  readonly secrets?: Secrets;
  /** What `${vault:x}` in headers and environments stands for. Default: that of `state`. */
  readonly secretSource?: SecretSource;
  /** For documents that strangers name, such as those of clients. Default: what reaches public addresses only. */
  readonly egress?: Egress;
  /** Paths beside the endpoints: the control API. Without them the address of `admin` is not opened. */
  readonly mount?: Mount;
  /** Paths beside the endpoints on their own address: the user API, metadata, pages. */
  readonly publicMount?: Mount;
  /** Counters, money, tiers and stops that outlive this gateway; its owner closes it. Default: all of it in memory. */
  readonly state?: GatewayState;
  /**
   * Ways to be recognised that are made outside the identity room, by auth entry: keys of the store, tokens of the
   * bridge. The same entry gets the same methods on every reload; their owner closes them.
   */
  readonly authMethods?: ((entry: AuthEntry) => readonly AuthMethod[]) | undefined;
  /** Transformers, composed anew whenever a configuration is applied. Default none. */
  readonly transforms?: TransformRegistry;
  /** Another certificate has come into use. */
  readonly onCertificate?: () => void;
  /** Number of attached stdio clients, whenever it changes. */
  readonly onClients?: (count: number) => void;
}
