/**
 * The configuration that a gateway has in force, with the secrets of the vault that stand in it. One change at a time:
 * a secret that is read again while another file is applied must not bring back the old one.
 */
import type { CompiledConfig } from '../config/compile.ts';
import type { LoadedConfig } from '../config/load.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { VaultEvent } from '../vault/vault.ts';
import { Follower } from './follower.ts';
import { withSecrets } from './secret-source.ts';
import type { GatewayState } from './state.ts';

/** Codes of what passes by itself. */
const AWAY: ReadonlySet<string> = new Set(['storage_unavailable', 'vault_unavailable']);

interface AppliedConfigurationParts {
  readonly state: Pick<GatewayState, 'vault' | 'vaultEvents'>;
  readonly log: Log;
  /** Puts it into force. Rejects and keeps the old one. */
  readonly apply: (config: CompiledConfig) => Promise<void>;
  readonly compile: (loaded: LoadedConfig) => CompiledConfig;
  /** Milliseconds between two tries to read changed secrets while storage or vault are away. Default 1000. */
  readonly poll?: number;
}

export class AppliedConfiguration {
  readonly #parts: AppliedConfigurationParts;
  #loaded: LoadedConfig;
  /** Versions and states of its secrets, when those of other gateways were looked at last. */
  #versions: string | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  readonly #follower: Follower;
  /** Changed secrets could not be read yet: they are, all of them, as soon as it can be. */
  #behind = false;
  /** Seen so far: one that is seen while secrets are read may have come after what was read. */
  #changes = 0;
  #closed = false;

  /** `loaded` is in force already. */
  constructor(loaded: LoadedConfig, parts: AppliedConfigurationParts) {
    this.#loaded = loaded;
    this.#parts = parts;
    this.#follower = new Follower(parts.log, 'secrets that were changed cannot be read', parts.poll);
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
    this.#follower.close();
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
    const versions = await this.#versionsOfSecrets().catch(() => undefined);
    if (versions === undefined || versions !== this.#versions) await this.#readSecrets(names.join(', '));
  }

  /** What was revoked may stand in it: while it cannot be read, that is tried again until it is. */
  async #readSecrets(secret: string): Promise<void> {
    this.#changes++;
    if (this.#behind || (await this.#putInForce(secret)) || this.#behind) return;
    this.#behind = true;
    await this.#follower.until(async () => {
      const before = this.#changes;
      return (await this.#putInForce(secret)) && before === this.#changes;
    });
    this.#behind = false;
  }

  /** False: storage or vault are away. */
  async #putInForce(secret: string): Promise<boolean> {
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
      if (this.#closed) return true;
      const away = TollgateError.is(error) && AWAY.has(error.code);
      const what = away ? 'cannot be read yet, which is tried again' : 'could not be put in force; restart the gateway';
      if (!this.#behind) log.error({ err: error, secret }, `a changed secret ${what}`);
      return !away;
    }
    return true;
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
