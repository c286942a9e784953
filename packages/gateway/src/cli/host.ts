/** A gateway in this process with everything around it: control API, run-time record, reload, orderly end. */
import { mkdir } from 'node:fs/promises';
import { type ControlHandler, createControlApi } from '../api/control.ts';
import { createMetricsPage } from '../api/metrics.ts';
import { Operations } from '../api/operations/operations.ts';
import { createUserApi, isUserPath } from '../api/user/user-api.ts';
import { createV1, isV1Path } from '../api/v1.ts';
import { compile } from '../config/compile.ts';
import { describeChanges } from '../config/diff.ts';
import { loadConfig } from '../config/load.ts';
import { systemClock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { Gateway } from '../pipeline/gateway.ts';
import type { GatewayAdministration } from '../pipeline/gateway-administration.ts';
import { administrationOf, keyAdministrationOf, operationsOf, userPortOf } from '../pipeline/ports.ts';
import { withSecrets } from '../pipeline/secret-source.ts';
import { takeOldTokens } from '../pipeline/sign-ins.ts';
import { GatewayState } from '../pipeline/state.ts';
import { type StatusReport, statusReport } from '../pipeline/status-report.ts';
import { VaultAdministration } from '../pipeline/vault-administration.ts';
import type { VaultEvent } from '../vault/vault.ts';
import { withAdminToken } from './admin-token.ts';
import type { CommandConfig } from './configuration.ts';
import { adminToken, findHolder, removeRecord, writeRecord } from './running.ts';

/** How the refusal of a second gateway begins. */
export const RUNS_ALREADY = 'A gateway of this configuration runs already';
/** Milliseconds that open calls get at the end before they are cut. */
const DRAIN_MS = 25_000;

export interface HostOptions {
  readonly log: Log;
  /** Address in place of the configured one, kept over reloads. */
  readonly listen: string | undefined;
  readonly onClients?: (count: number) => void;
}

export class Host {
  readonly gateway: Gateway;
  readonly #command: CommandConfig;
  readonly #options: HostOptions;
  /** It shares its data folder with one that was first. */
  readonly #further: boolean;
  readonly #state: GatewayState;
  readonly #ports: Parameters<typeof administrationOf>[0];
  readonly #administration: GatewayAdministration;
  #loaded: CommandConfig['loaded'];
  #reloadProblem: string | undefined;
  /** Versions and states of the configuration's secrets, when those of other gateways were looked at last. */
  #secretVersions: string | undefined;
  #reloading: Promise<{ readonly changes: readonly string[] }> | undefined;

  private constructor(
    command: CommandConfig,
    options: HostOptions,
    token: string,
    state: GatewayState,
    further: boolean,
  ) {
    this.#command = command;
    this.#further = further;
    this.#options = options;
    this.#state = state;
    this.#ports = { clock: systemClock, state, gateway: () => this.gateway };
    this.#administration = administrationOf(this.#ports);
    this.#loaded = command.loaded;
    state.vaultEvents.watch((event) => this.#secretChanged(event));
    state.vaultEvents.whenChangedElsewhere(() => void this.#secretsChangedElsewhere());
    const control = this.#control(token);
    const v1 = this.#v1(token);
    const user = createUserApi(userPortOf(this.#ports), options.log);
    const metrics = createMetricsPage({
      identify: withAdminToken(token, (authorization) => this.gateway.identify(authorization, '', undefined)),
      page: () => ({ text: state.metrics.text(), type: state.metrics.contentType }),
    });
    this.gateway = new Gateway(command.compiled, {
      log: options.log,
      state,
      mount: (request, response, path) => {
        if (path === '/metrics') metrics(request, response);
        else if (isV1Path(path)) v1(request, response);
        else if (path === '/api/v1' || path.startsWith('/api/v1/')) control(request, response);
        else return false;
        return true;
      },
      onCertificate: () => {
        this.#record().catch((error: unknown) =>
          options.log.error({ err: error }, 'commands cannot be told of the new certificate'),
        );
      },
      publicMount: (request, response, path, { address }) => {
        if (!isUserPath(path)) return false;
        user(request, response, address);
        return true;
      },
      ...(options.onClients === undefined ? {} : { onClients: options.onClients }),
    });
  }

  /** Builds and listens. Rejects with `listen_failed` when the address or the data folder is taken. */
  static async start(command: CommandConfig, options: HostOptions): Promise<Host> {
    const { dataDir } = command;
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    const holder = await findHolder(dataDir);
    const other = holder !== undefined && holder.pid !== process.pid ? holder : undefined;
    const shares = command.compiled.state.kind === 'redis';
    if (other !== undefined && !shares) {
      throw new TollgateError(
        'listen_failed',
        `${RUNS_ALREADY} (process ${other.pid}, ${other.url}). Use it, or stop it first.`,
      );
    }
    const token = await adminToken(dataDir);
    // The attach socket of a folder belongs to the gateway that was first.
    const { compiled } = command;
    const own =
      other === undefined ? compiled : { ...compiled, inbound: { ...compiled.inbound, attachSocket: undefined } };
    let { loaded } = command;
    let used = own;
    const state = await GatewayState.open(compiled, { clock: systemClock, log: options.log }, async (vault) => {
      loaded = await withSecrets(command.loaded, vault);
      if (loaded === command.loaded) return compiled;
      const resolved = compile(loaded.config);
      used = { ...resolved, inbound: { ...resolved.inbound, attachSocket: own.inbound.attachSocket } };
      return resolved;
    });
    try {
      await takeOldTokens(compiled, state.vault, options.log);
      const host = new Host({ ...command, loaded, compiled: used }, options, token, state, other !== undefined);
      await host.gateway.listen();
      await host.#record();
      return host;
    } catch (error) {
      await state.close();
      throw error;
    }
  }

  status(): StatusReport {
    return statusReport(this.gateway, { configuration: this.#command.file, reloadProblem: this.#reloadProblem });
  }

  /** Applies the file as it is now. Rejects with every mistake and keeps the old configuration. */
  reload(): Promise<{ readonly changes: readonly string[] }> {
    this.#reloading ??= this.#reload().finally(() => {
      this.#reloading = undefined;
    });
    return this.#reloading;
  }

  /** Ends in order; true when every open call finished by itself. */
  async stop(): Promise<boolean> {
    const clean = await this.gateway.drain(DRAIN_MS);
    await this.#state.close();
    await removeRecord(this.#command.dataDir, process.pid);
    return clean;
  }

  async #reload(): Promise<{ readonly changes: readonly string[] }> {
    const { log, listen } = this.#options;
    try {
      // Whoever changes a file that was merely found must not thereby run programs here.
      const { file, found } = this.#command;
      const written = await loadConfig(file, { found, ...(listen === undefined ? {} : { listen }) });
      const loaded = await withSecrets(written, this.#state.vault);
      const changes = describeChanges(this.#loaded, loaded);
      await this.gateway.apply(compile(loaded.config));
      this.#loaded = loaded;
      this.#reloadProblem = undefined;
      log.info({ generation: this.gateway.generation.number, changes }, 'the configuration was applied');
      return { changes };
    } catch (thrown) {
      const error = TollgateError.from(thrown);
      this.#reloadProblem = error.message;
      log.error(
        { code: error.code, err: error.cause },
        `the configuration was not applied, the old one serves: ${error.message}`,
      );
      throw error;
    }
  }

  /** A secret that the configuration uses was set, revoked or removed: it counts from now on. */
  #secretChanged({ kind, id }: VaultEvent): void {
    const { names } = this.#loaded.secrets;
    if (id?.owner.kind !== 'gateway' || id.purpose !== 'secret' || !names.includes(id.name)) return;
    if (kind !== 'set' && kind !== 'revoked' && kind !== 'removed') return;
    void this.#applySecrets(id.name);
  }

  /** The same, of another gateway on this storage. */
  async #secretsChangedElsewhere(): Promise<void> {
    const { names } = this.#loaded.secrets;
    if (names.length === 0) return;
    try {
      if ((await this.#versionsOfSecrets()) !== this.#secretVersions) await this.#applySecrets(names.join(', '));
    } catch (error) {
      this.#options.log.error({ err: error }, 'secrets that another gateway changed could not be read');
    }
  }

  async #applySecrets(secret: string): Promise<void> {
    const { log } = this.#options;
    try {
      const versions = await this.#versionsOfSecrets();
      const loaded = await withSecrets(this.#loaded, this.#state.vault, { lenient: true });
      await this.gateway.apply(compile(loaded.config));
      this.#loaded = loaded;
      this.#secretVersions = versions;
      log.info({ secret }, 'a secret that the configuration uses has changed and is in force');
    } catch (error) {
      log.error({ err: error, secret }, 'a changed secret could not be put in force; restart the gateway');
    }
  }

  async #versionsOfSecrets(): Promise<string> {
    const infos = this.#loaded.secrets.names.map((name) =>
      this.#state.vault.info({ owner: { kind: 'gateway' }, purpose: 'secret', name }),
    );
    return JSON.stringify((await Promise.all(infos)).map((info) => [info?.version, info?.state]));
  }

  #control(token: string): ControlHandler {
    return createControlApi({
      log: this.#options.log,
      identify: withAdminToken(token, (authorization) => this.gateway.identify(authorization, '', undefined)),
      port: {
        status: () => this.status(),
        watchCalls: (listener) => this.gateway.calls.watch(listener),
        reload: () => this.reload(),
        decisions: this.#state.decisions,
        administration: this.#administration,
        keys: keyAdministrationOf(this.#ports),
        trust: this.#state.trust,
        signIns: {
          list: (principal) => this.gateway.bridge.signIns(principal),
          end: async (principal, by) => {
            const ended = await this.gateway.bridge.endSignIns(principal);
            await this.#state.books.record(by, 'sign_ins_ended', { principal, ended });
            return ended;
          },
        },
        vault: new VaultAdministration(this.#state.vault),
      },
    });
  }

  #v1(token: string): ControlHandler {
    return createV1({
      log: this.#options.log,
      identify: withAdminToken(token, (authorization) => this.gateway.identify(authorization, '', undefined)),
      operations: new Operations(operationsOf(this.#ports, this.#administration, () => this.#loaded.warnings)),
    });
  }

  /** Where commands find this gateway; written anew when its key changes. */
  async #record(): Promise<void> {
    const { listening, controlPin } = this.gateway;
    if (listening === undefined) return;
    const { url, control } = listening;
    await writeRecord(
      this.#command.dataDir,
      {
        pid: process.pid,
        url,
        control,
        ...(controlPin === undefined ? {} : { pin: controlPin }),
        configuration: this.#command.file,
        startedAt: this.gateway.startedAt.toISOString(),
      },
      this.#further,
    );
  }
}
