import { checkAccess } from './check-access.ts';
import { checkAuth } from './check-auth.ts';
import { checkEndpoints, checkRoutes, checkTools } from './check-catalog.ts';
import { checkLimits } from './check-limits.ts';
import { checkListen } from './check-listen.ts';
import { checkPrices } from './check-prices.ts';
import { checkServers } from './check-servers.ts';
import { checkStores } from './check-stores.ts';
import { checkTrust } from './check-trust.ts';
import { checkVault } from './check-vault.ts';
import { type Finding, isWithin, type KeyPath } from './problems.ts';
import type { configSchema } from './schema.ts';
import { placeKey } from './tree.ts';
import { valueAt } from './values.ts';

export type ParsedConfig = ReturnType<typeof configSchema.parse>;

export interface CheckContext {
  /** The configuration as written, broken parts included. */
  readonly written: unknown;
  /** Entries and top-level keys that the schema refused; nothing is concluded from their absence. */
  readonly damaged: readonly KeyPath[];
  /** Texts as written, by place, of values that held `${…}`. */
  readonly originals: ReadonlyMap<string, string>;
  /** How this kind of file writes a variable, for advice. */
  readonly variable: string;
  /** The path in the file of a path in the sound part: lists lose their broken entries. */
  readonly place: (path: KeyPath) => KeyPath;
  /** The configuration stands for manifests of ToolHive. */
  readonly translated: boolean;
}

/** The same, with the questions that several checks ask. */
export class Checks {
  readonly config: ParsedConfig;
  /** Every server that was written, sound or not. */
  readonly servers: readonly string[];
  readonly entries: readonly string[];
  /** Tenants that auth entries give. */
  readonly tenants: readonly string[];
  /** Claims may say tenants that stand nowhere in the file. */
  readonly anyTenant: boolean;
  readonly endpoints: readonly string[];
  readonly findings: Finding[] = [];
  readonly #context: CheckContext;

  constructor(config: ParsedConfig, context: CheckContext) {
    this.config = config;
    this.#context = context;
    this.servers = this.#keys('servers');
    const own = config.endpoints === undefined && !this.isDamaged('endpoints') ? ['/mcp'] : this.#keys('endpoints');
    this.endpoints = [...own, ...this.servers.map((name) => `/s/${name}`)];
    const auth = (context.written as { auth?: unknown } | null)?.auth;
    this.tenants = [...new Set(config.auth?.flatMap(({ bearer, map }) => bearer?.tenant ?? map?.tenants ?? []) ?? [])];
    this.anyTenant = config.auth?.some(({ map }) => map?.tenant !== undefined && map.tenants === undefined) ?? false;
    this.entries = Array.isArray(auth) ? auth.map((entry) => entry?.name ?? 'anonymous') : ['anonymous'];
  }

  /** Tenants that callers of an entry can have; `any`: only their tokens or keys say. */
  tenantsOf(entry: string): 'any' | readonly string[] {
    const found = this.config.auth?.find(({ name }) => name === entry);
    if (found === undefined || found.anonymous !== undefined) return [];
    if (found.bearer !== undefined) return found.bearer.tenant === undefined ? [] : [found.bearer.tenant];
    if (found.keys !== undefined) return 'any';
    return found.map?.tenant === undefined ? [] : (found.map.tenants ?? 'any');
  }

  #keys(section: string): string[] {
    const value = (this.#context.written as Record<string, unknown> | null)?.[section];
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.keys(value) : [];
  }

  isDamaged(...path: string[]): boolean {
    return this.#context.damaged.some((damaged) => isWithin(path, damaged));
  }

  /** True when a part of a section was refused, or all of it. */
  isAnyDamaged(section: string): boolean {
    return this.#context.damaged.some((damaged) => damaged[0] === section);
  }

  get translated(): boolean {
    return this.#context.translated;
  }

  get variable(): string {
    return this.#context.variable;
  }

  /** True when a whole top-level key was refused: what is missing may stand there. */
  get topLevelDamaged(): boolean {
    return this.#context.damaged.some((damaged) => damaged.length <= 1);
  }

  /** True when the key itself stands in the file; a preset may have given the value. */
  isWritten(...path: (string | number)[]): boolean {
    return valueAt(this.#context.written, path) !== undefined;
  }

  /** True when the configuration says where the vault's key is, or takes a secret out of it. */
  get usesVault(): boolean {
    return this.isWritten('vault') || [...this.#context.originals.values()].some((text) => text.includes('${vault:'));
  }

  /** True when the value was written out, not taken from a variable or file. */
  isLiteral(...path: (string | number)[]): boolean {
    return !this.#context.originals.has(placeKey(this.#context.place(path)));
  }
}

/**
 * What the schema of single keys cannot see: contradictions, names that do not exist, patterns that can match
 * nothing, unsafe combinations. Reports all of them.
 */
export function checkConfig(config: ParsedConfig, context: CheckContext): Finding[] {
  const checks = new Checks(config, context);
  checkServers(checks);
  checkEndpoints(checks);
  checkTools(checks);
  checkRoutes(checks);
  checkAuth(checks);
  checkAccess(checks);
  checkListen(checks);
  checkLimits(checks);
  checkPrices(checks);
  checkStores(checks);
  checkVault(checks);
  checkTrust(checks);
  return checks.findings.map((finding) => ({ ...finding, path: context.place(finding.path) }));
}
