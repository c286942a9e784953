/** What `${vault:x}` stands for: in headers and environments at each use, elsewhere when a configuration is applied. */
import type { LoadedConfig } from '../config/assemble.ts';
import { isOfServer } from '../config/expand.ts';
import { TollgateError } from '../core/errors.ts';
import { formatReference, type SecretReference } from '../core/secret-reference.ts';
import type { SecretId, SecretInfo, SecretOwner } from '../core/secrets.ts';
import type { SecretSource, SecretUse } from '../upstream/secret-texts.ts';
import type { Vault } from '../vault/vault.ts';
import type { VaultEvents } from './vault-state.ts';

/** Name of the secret that is tried when a server refuses the one without it. */
const BACKUP = '.backup';
/** Label of a secret that one server alone may use. */
export const SERVER_LABEL = 'server';

export class VaultSource implements SecretSource {
  readonly #vault: Vault;
  #revision = 0;

  constructor(vault: Vault, events: VaultEvents) {
    this.#vault = vault;
    events.watch(({ kind }) => {
      if (kind !== 'used') this.#revision++;
    });
    events.whenChangedElsewhere(() => {
      this.#revision++;
    });
  }

  get revision(): number {
    return this.#revision;
  }

  async value(reference: SecretReference, use: SecretUse, which: 'current' | 'other'): Promise<string | undefined> {
    const owner = ownerFor(reference, use);
    if (owner === undefined) {
      // The gateway's own connection reads lists with a secret of its own where there is one, and without otherwise.
      return use.principal === undefined
        ? this.#read(gatewayId(reference.name), reference, use, which, true)
        : refuse(reference, use);
    }
    const id: SecretId = { owner, purpose: 'secret', name: reference.name };
    return this.#read(await this.#ofUser(id, reference), reference, use, which, false);
  }

  /** What a user left over `/api-keys` under the name of a provider serves where nobody has set a secret of that name. */
  async #ofUser(id: SecretId, { scope }: SecretReference): Promise<SecretId> {
    if (scope !== 'user' || (await this.#vault.info(id)) !== undefined) return id;
    const left: SecretId = { ...id, purpose: 'provider-key' };
    return (await this.#vault.info(left)) === undefined ? id : left;
  }

  async #read(
    id: SecretId,
    reference: SecretReference,
    use: SecretUse,
    which: 'current' | 'other',
    optional: boolean,
  ): Promise<string | undefined> {
    const reason = `server ${use.server}`;
    if (which === 'other') {
      const before = await this.#vault.previous(id, reason);
      if (before !== undefined) return before;
      const backup = { ...id, name: id.name + BACKUP };
      const bound = boundTo(await this.#vault.info(backup));
      return bound === undefined || bound === use.server ? this.#vault.get(backup, `backup, ${reason}`) : undefined;
    }
    const info = await this.#vault.info(id);
    const bound = boundTo(info);
    if (bound !== undefined && bound !== use.server && info?.state === 'active') {
      throw new TollgateError(
        'secret_missing',
        `${use.server}: the secret ${reference.name} is for the server ${bound} alone`,
      );
    }
    const value = await this.#vault.get(id, reason);
    if (value !== undefined || optional) return value;
    throw new TollgateError(
      'secret_missing',
      `${use.server}: ${missing(reference.name, info, setCommand(reference, use))}`,
    );
  }
}

/** The one server that may use it. */
function boundTo(info: SecretInfo | undefined): string | undefined {
  return info?.labels[SERVER_LABEL];
}

/** Whose secret is meant; undefined: nobody is there to have one. */
function ownerFor({ scope }: SecretReference, { principal }: SecretUse): SecretOwner | undefined {
  if (scope === 'gateway') return { kind: 'gateway' };
  if (principal === undefined) return undefined;
  if (scope === 'user') return { kind: 'principal', principal: principal.id };
  return principal.tenant === undefined ? undefined : { kind: 'tenant', tenant: principal.tenant };
}

function refuse(reference: SecretReference, use: SecretUse): never {
  throw new TollgateError(
    'secret_missing',
    `${use.server}: ${formatReference(reference)} belongs to a tenant, and you have none`,
  );
}

function gatewayId(name: string): SecretId {
  return { owner: { kind: 'gateway' }, purpose: 'secret', name };
}

function setCommand({ scope, name }: SecretReference, { principal }: SecretUse): string {
  if (scope === 'user')
    return `tollgate vault set ${name} --user ${principal === undefined ? 'PRINCIPAL' : principal.id}`;
  return `tollgate vault set ${name}${scope === 'tenant' ? ` --tenant ${principal?.tenant ?? 'TENANT'}` : ''}`;
}

/** What is the matter with a secret, and the command that helps. */
function missing(name: string, info: SecretInfo | undefined, command: string): string {
  if (info?.state === 'expired') {
    return `the secret ${name} expired on ${new Date(info.expiresAt ?? 0).toISOString()}. Renew it: ${command}`;
  }
  if (info?.state === 'revoked') return `the secret ${name} was revoked. Set a new one: ${command}`;
  return `the secret ${name} is not in the vault. Set it: ${command}`;
}

/**
 * The configuration with the values of its secrets in place, those in headers and environments excepted. Rejects with
 * `secret_missing`, naming all that are missing; with `lenient` they stay closed instead: a token that was revoked while
 * the gateway runs is accepted from nobody.
 */
export async function withSecrets(
  loaded: LoadedConfig,
  vault: Vault,
  options: { readonly lenient?: boolean } = {},
): Promise<LoadedConfig> {
  const { names, resolve } = loaded.secrets;
  if (names.length === 0) return loaded;
  const values = new Map<string, string>();
  const problems: string[] = [];
  for (const name of names) {
    const id = gatewayId(name);
    const bound = boundTo(await vault.info(id));
    if (bound !== undefined && usedBeside(loaded, name, bound)) {
      problems.push(`the secret ${name} is for the server ${bound} alone, and stands elsewhere too`);
      continue;
    }
    const value = await vault.get(id, 'configuration');
    if (value !== undefined) values.set(name, value);
    else problems.push(missing(name, await vault.info(id), `tollgate vault set ${name}`));
  }
  if (problems.length > 0 && options.lenient !== true) {
    throw new TollgateError('secret_missing', `The configuration needs secrets: ${problems.join('; ')}`);
  }
  return resolve(values);
}

/** Webhooks, passwords and other servers are other places: a secret that is for one server goes to none of them. */
function usedBeside({ source }: LoadedConfig, name: string, server: string): boolean {
  return source.expansions.some(
    ({ kind, name: used, path }) =>
      kind === 'vault' && used === name && !isOfServer(path) && !(path[0] === 'servers' && path[1] === server),
  );
}
