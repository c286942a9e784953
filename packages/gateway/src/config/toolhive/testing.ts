/** Files of ToolHive and their limits, for tests: on a limiter in memory and on Redis alike. */
import { type Limiter, MemoryLimiter } from '@tollgate/limiter';
import { createAdmission } from '../../admission/admission.ts';
import type { Admission, AdmissionDeps } from '../../admission/contract.ts';
import type { Decision } from '../../admission/decision.ts';
import type { Target } from '../../admission/limits.ts';
import { call, principal, START, TestClock, toolTarget } from '../../admission/testing.ts';
import type { Principal } from '../../core/principal.ts';
import { type CompiledConfig, compile } from '../compile.ts';
import { loadText } from '../testing.ts';

/** JSON is YAML, so that a block can be an object here. */
export type Block = Readonly<Record<string, unknown>>;

export const bucket = (maxTokens: number, refillPeriod: string) => ({ maxTokens, refillPeriod });

const TOKENS = { ALICE: 'alice-token-0123456789', BOB: 'bob-token-0123456789-' };
export const tokenOf = (who: keyof typeof TOKENS): string => TOKENS[who];

export interface FileOptions {
  readonly auth?: 'anonymous' | 'oidc';
  readonly name?: string;
  /** URLs by name. Default `backend_a` and `backend_b`. */
  readonly servers?: Readonly<Record<string, string>>;
  readonly more?: Block;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
}

const SERVERS = { backend_a: 'http://127.0.0.1:1/mcp', backend_b: 'http://127.0.0.1:2/mcp' };

/** A generated file with this block, compiled as `serve` does. */
export function generatedFile(rateLimiting: Block | undefined, options: FileOptions = {}): CompiledConfig {
  const { auth = 'oidc', name = 'vmcp', servers = SERVERS, more = {}, metadata = {}, env = {} } = options;
  const oidc = { issuer: 'https://idp.example', clientId: 'c', audience: 'a' };
  const file = {
    name,
    groupRef: 'team',
    incomingAuth: auth === 'oidc' ? { type: 'oidc', oidc } : { type: auth },
    outgoingAuth: { source: 'inline' },
    backends: Object.entries(servers).map(([backend, url]) => ({ name: backend, url, transport: 'streamable-http' })),
    sessionStorage: { provider: 'redis', address: '127.0.0.1:6379' },
    metadata: { ...(auth === 'oidc' ? { 'tollgate/bearers': 'alice=ALICE bob=BOB' } : {}), ...metadata },
    ...(rateLimiting === undefined ? {} : { rateLimiting }),
    ...more,
  };
  return compileText(JSON.stringify(file), env);
}

export function compileText(text: string, env: Readonly<Record<string, string>> = {}): CompiledConfig {
  const all = { HOME: '/home/ada', ...TOKENS, ...env };
  return compile(loadText(text, all).config, all);
}

export const ALICE = principal('alice/alice');
export const BOB = principal('bob/bob');
export const CAROL = principal('carol/carol');
export const NOBODY = principal('anonymous');

/** The limits of a file at work. */
export class Stand {
  readonly clock: TestClock;
  readonly admission: Admission;

  constructor(config: CompiledConfig, limiter: Limiter, clock: TestClock, deps: Partial<AdmissionDeps> = {}) {
    this.clock = clock;
    this.admission = createAdmission(config.admission, { clock, limiter, ...deps });
  }

  /** One call; undefined: admitted. Each is finished, as after an answer of the server. */
  async ask(tool: string, who: Principal = ALICE, over: Partial<Target> & { readonly method?: string } = {}) {
    const { method = 'tools/call', ...target } = over;
    const asked = call({ principal: who, method });
    const verdict = await this.admission.admit(asked, toolTarget(tool, target), this.clock.now);
    if (!verdict.allowed) return verdict.decision;
    asked.charge = verdict.charge;
    this.admission.finish(asked, { executed: 'yes', answer: undefined }, this.clock.now);
    return undefined;
  }

  /** `passed`, or the limits in the way in the order of the file. */
  async says(tool: string, who: Principal = ALICE): Promise<string> {
    return wordsOf(await this.ask(tool, who));
  }
}

export function wordsOf(decision: Decision | undefined): string {
  return decision?.violated.map(({ limit }) => limit.name).join(' ') ?? 'passed';
}

/** Makes limiters that keep nothing of each other, under this clock. */
export type MakeLimiter = (clock: TestClock) => Limiter;

export const inMemory: MakeLimiter = () => new MemoryLimiter({ seed: [1, 2], originMs: START });

export function standOf(make: MakeLimiter, block: Block, options: FileOptions = {}): Stand {
  const clock = new TestClock();
  return new Stand(generatedFile(block, options), make(clock), clock);
}
