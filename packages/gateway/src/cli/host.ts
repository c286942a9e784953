/** A gateway in this process with everything around it: control API, run-time record, reload, orderly end. */
import { mkdir } from 'node:fs/promises';
import { withAdminToken } from '../api/admin-token.ts';
import { adminSurface, userSurface } from '../api/surfaces.ts';
import { compile } from '../config/compile.ts';
import { type AppliedChanges, appliedChanges } from '../config/diff.ts';
import { loadConfig } from '../config/load.ts';
import { systemClock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { AppliedConfiguration } from '../pipeline/applied-configuration.ts';
import { Gateway } from '../pipeline/gateway.ts';
import type { SurfacePorts } from '../pipeline/handle-ports.ts';
import { administrationOf, operationsOf } from '../pipeline/ports.ts';
import { withSecrets } from '../pipeline/secret-source.ts';
import { takeOldTokens } from '../pipeline/sign-ins.ts';
import { GatewayState } from '../pipeline/state.ts';
import { type StatusReport, statusReport } from '../pipeline/status-report.ts';
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
  readonly #applied: AppliedConfiguration;
  #reloadProblem: string | undefined;
  #reloading: Promise<AppliedChanges> | undefined;

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
    const ports = { clock: systemClock, state, gateway: () => this.gateway };
    const administration = administrationOf(ports);
    const surfaces: SurfacePorts = {
      ...ports,
      log: options.log,
      administration,
      operations: operationsOf(ports, administration, () => this.#applied.loaded.warnings),
      status: () => this.status(),
      reload: () => this.reload(),
    };
    this.#applied = new AppliedConfiguration(command.loaded, {
      state,
      log: options.log,
      apply: (config) => this.gateway.apply(config),
      compile: ({ config }) => compile(config),
    });
    this.gateway = new Gateway(command.compiled, {
      log: options.log,
      state,
      mount: adminSurface(
        surfaces,
        withAdminToken(token, (authorization) => this.gateway.identify(authorization, '', undefined)),
      ),
      publicMount: userSurface(surfaces),
      onCertificate: () => {
        this.#record().catch((error: unknown) =>
          options.log.error({ err: error }, 'commands cannot be told of the new certificate'),
        );
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
      try {
        await host.#record();
      } catch (error) {
        await host.gateway.close();
        throw error;
      }
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
  reload(): Promise<AppliedChanges> {
    this.#reloading ??= this.#reload().finally(() => {
      this.#reloading = undefined;
    });
    return this.#reloading;
  }

  /** Ends in order; true when every open call finished by itself. */
  async stop(): Promise<boolean> {
    await this.#applied.close();
    const clean = await this.gateway.drain(DRAIN_MS);
    await this.#state.close();
    await removeRecord(this.#command.dataDir, process.pid);
    return clean;
  }

  async #reload(): Promise<AppliedChanges> {
    const { log, listen } = this.#options;
    try {
      // Whoever changes a file that was merely found must not thereby run programs here.
      const { file, found } = this.#command;
      const { before, after } = await this.#applied.replace(() =>
        loadConfig(file, { found, ...(listen === undefined ? {} : { listen }) }),
      );
      const applied = appliedChanges(before, after);
      const { changes, warnings } = applied;
      this.#reloadProblem = undefined;
      log.info({ generation: this.gateway.generation.number, changes }, 'the configuration was applied');
      for (const warning of warnings) log.warn({ warning }, 'the applied configuration forgets what was used');
      return applied;
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
