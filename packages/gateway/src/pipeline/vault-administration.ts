/** What operators do with the vault: the same over the control API and on the command line without a gateway. */
import { TollgateError } from '../core/errors.ts';
import { canonicalPrincipalId } from '../core/principal.ts';
import type { SecretId, SecretInfo, SecretOwner } from '../core/secrets.ts';
import type { KeyView, RewrapReport } from '../vault/rotation.ts';
import type { Vault } from '../vault/vault.ts';
import type { Doubted } from './gateway-administration.ts';
import { SERVER_LABEL } from './secret-source.ts';

/** A secret by name, of the gateway unless a tenant or user is named. */
export interface SecretChoice {
  readonly name: string;
  readonly tenant?: string | undefined;
  readonly user?: string | undefined;
}

export interface SecretSetting extends SecretChoice {
  readonly value: string;
  /** Wall milliseconds. */
  readonly expiresAt?: number | undefined;
  /** Milliseconds for which the value before is tried too. */
  readonly overlap?: number | undefined;
  /** The one server that may use it. Default: as before. */
  readonly server?: string | undefined;
}

export interface VaultStatus {
  readonly keys: readonly KeyView[];
  readonly secrets: number;
}

export interface VaultPort {
  /** `warning`: the user is likely not who was meant. */
  set(setting: SecretSetting, by: string): Promise<SecretInfo & Doubted>;
  list(): Promise<readonly SecretInfo[]>;
  remove(choice: SecretChoice, by: string): Promise<boolean>;
  /** Never used again; webhooks are told. */
  revoke(choice: SecretChoice, by: string, reason: string): Promise<boolean>;
  status(): Promise<VaultStatus>;
  rotate(by: string): Promise<{ readonly version: number; readonly key: string }>;
  /** Goes on for at most `ms`; what is left is moved by the next call. */
  rewrap(by: string, ms: number): Promise<RewrapReport>;
  retire(version: number, by: string): Promise<void>;
  destroy(version: number, confirm: string, by: string): Promise<void>;
  reencrypt(by: string): Promise<number>;
}

export class VaultAdministration implements VaultPort {
  readonly #vault: Vault;
  readonly #doubt: (principal: string) => string | undefined;

  /** `doubt`: why nobody may have a principal id, where a gateway runs that knows. */
  constructor(vault: Vault, doubt: (principal: string) => string | undefined = () => undefined) {
    this.#vault = vault;
    this.#doubt = doubt;
  }

  async set(
    { value, expiresAt, overlap, server, ...choice }: SecretSetting,
    by: string,
  ): Promise<SecretInfo & Doubted> {
    const id = idOf(choice);
    // A new value does not open a secret to other servers: only its removal does.
    const bound = server ?? (await this.#vault.info(id))?.labels[SERVER_LABEL];
    const labels = bound === undefined ? {} : { [SERVER_LABEL]: bound };
    const info = await this.#vault.put(id, value, { by, expiresAt, overlap, labels });
    const warning = id.owner.kind === 'principal' ? this.#doubt(id.owner.principal) : undefined;
    return warning === undefined ? info : { ...info, warning };
  }

  list(): Promise<readonly SecretInfo[]> {
    return this.#vault.list('all');
  }

  remove(choice: SecretChoice, by: string): Promise<boolean> {
    return this.#vault.remove(idOf(choice), by);
  }

  revoke(choice: SecretChoice, by: string, reason: string): Promise<boolean> {
    return this.#vault.revoke(idOf(choice), by, reason);
  }

  async status(): Promise<VaultStatus> {
    await this.#vault.verify();
    return { keys: await this.#vault.rotation.keys(), secrets: (await this.#vault.list('all')).length };
  }

  async rotate(by: string): Promise<{ readonly version: number; readonly key: string }> {
    const { version, key } = await this.#vault.rotation.rotate(by);
    return { version, key };
  }

  rewrap(by: string, ms: number): Promise<RewrapReport> {
    return this.#vault.rotation.rewrap(by, { signal: AbortSignal.timeout(ms) });
  }

  retire(version: number, by: string): Promise<void> {
    return this.#vault.rotation.retire(version, by);
  }

  destroy(version: number, confirm: string, by: string): Promise<void> {
    return this.#vault.rotation.destroy(version, confirm, by);
  }

  reencrypt(by: string): Promise<number> {
    return this.#vault.rotation.reencrypt(by);
  }
}

function idOf({ name, tenant, user }: SecretChoice): SecretId {
  if (tenant !== undefined && user !== undefined) {
    throw new TollgateError('invalid_params', 'A secret belongs to a tenant or to a user, not to both', { http: 400 });
  }
  let owner: SecretOwner = { kind: 'gateway' };
  if (tenant !== undefined) owner = { kind: 'tenant', tenant };
  else if (user !== undefined) owner = { kind: 'principal', principal: canonicalPrincipalId(user) };
  return { owner, purpose: 'secret', name };
}
