/**
 * The configuration that a gateway has in force, with the secrets of the vault that stand in it. One change at a time:
 * a secret that is read again while another file is applied must not bring back the old one.
 */
import type { CompiledConfig } from '../config/compile.ts';
import type { LoadedConfig } from '../config/load.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { VaultEvent } from '../vault/vault.ts';
import { withSecrets } from './secret-source.ts';
import type { GatewayState } from './state.ts';

interface AppliedConfigurationParts {
  readonly state: Pick<GatewayState, 'vault' | 'vaultEvents'>;
  readonly log: Log;
  /** Puts it into force. Rejects and keeps the old one. */
  readonly apply: (config: CompiledConfig) => Promise<void>;
  readonly compile: (loaded: LoadedConfig) => CompiledConfig;
}

export class AppliedConfiguration {
  readonly #parts: AppliedConfigurationParts;
  #loaded: LoadedConfig;
  /** Versions and states of its secrets, when those of other gateways were looked at last. */
  #versions: string | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #closed = false;

  /** `loaded` is in force already. */
  constructor(loaded: LoadedConfig, parts: AppliedConfigurationParts) {
    this.#loaded = loaded;
    this.#parts = parts;
    const { vaultEvents } = parts.state;
    vaultEvents.watch((event) => this.#secretChanged(event));
    vaultEvents.whenChangedElsewhere(() => void this.#secretsChangedElsewhere());
  }

  get loaded(): LoadedConfig {
    return this.#loaded;
  }

  /** Applies what is read, and gives back both. Rejects with every mistake and keeps the old one. */
  replace(read: () => Promise<LoadedConfig>): Promise<{ readonly before: LoadedConfig; readonly after: LoadedConfig }> {
    return this.#inTurn(async () => {
      const { apply, compile, state } = this.#parts;
      const after = await withSecrets(await read(), state.vault);
      await apply(compile(after));
      const before = this.#loaded;
      this.#loaded = after;
      return { before, after };
    });
  }

  /** Nothing is applied any more. Resolves when what was begun has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#turn;
  }

  /** A secret that the configuration uses was set, revoked or removed: it counts from now on. */
  #secretChanged({ kind, id }: VaultEvent): void {
    const { names } = this.#loaded.secrets;
    if (id?.owner.kind !== 'gateway' || id.purpose !== 'secret' || !names.includes(id.name)) return;
    if (kind !== 'set' && kind !== 'revoked' && kind !== 'removed') return;
    void this.#readSecrets(id.name);
  }

  /** The same, of another gateway on this storage. */
  async #secretsChangedElsewhere(): Promise<void> {
    const { names } = this.#loaded.secrets;
    if (names.length === 0) return;
    try {
      if ((await this.#versionsOfSecrets()) !== this.#versions) await this.#readSecrets(names.join(', '));
    } catch (error) {
      this.#parts.log.error({ err: error }, 'secrets that another gateway changed could not be read');
    }
  }

  async #readSecrets(secret: string): Promise<void> {
    const { log, apply, compile, state } = this.#parts;
    try {
      await this.#inTurn(async () => {
        const versions = await this.#versionsOfSecrets();
        const loaded = await withSecrets(this.#loaded, state.vault, { lenient: true });
        await apply(compile(loaded));
        this.#loaded = loaded;
        this.#versions = versions;
      });
      log.info({ secret }, 'a secret that the configuration uses has changed and is in force');
    } catch (error) {
      if (this.#closed) return;
      log.error({ err: error, secret }, 'a changed secret could not be put in force; restart the gateway');
    }
  }

  async #versionsOfSecrets(): Promise<string> {
    const infos = this.#loaded.secrets.names.map((name) =>
      this.#parts.state.vault.info({ owner: { kind: 'gateway' }, purpose: 'secret', name }),
    );
    return JSON.stringify((await Promise.all(infos)).map((info) => [info?.version, info?.state]));
  }

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const run = this.#turn.then(() => {
      if (this.#closed) throw new TollgateError('shutting_down', 'The gateway is shutting down');
      return change();
    });
    this.#turn = run.catch(() => undefined);
    return run;
  }
}
