import { Ask, MemoryLimiter } from '@tollgate/limiter';
import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { LimitMetrics, type SeenAdmission, timed } from './metrics.ts';
import { Registry } from './registry.ts';

const IDLE = {
  guardDenials: () => 0,
  refusedCallers: () => ({}),
  unrecordedRefusals: () => 0,
  ledgerWaiting: () => 0,
  ledgerDrift: () => undefined,
  blockedDefinitions: () => 0,
};
const seen = (limits: readonly string[], over: Partial<SeenAdmission> = {}): SeenAdmission => ({
  rules: limits.map((limit) => ({ limit, shadow: false })),
  shadowed: [],
  degraded: undefined,
  refusal: undefined,
  ...over,
});
const refusal = (...names: string[]) => ({ refusal: { violated: names.map((name) => ({ limit: { name } })) } });

const bucketOf = (scope: 'shared' | 'per_user', operation: 'server' | 'tool') => ({
  namespace: 'default',
  server: 'vmcp',
  scope,
  operation,
});
const FILE = {
  namespace: 'default',
  name: 'vmcp',
  buckets: {
    shared: bucketOf('shared', 'server'),
    tool_x_shared: bucketOf('shared', 'tool'),
    per_user: bucketOf('per_user', 'server'),
    tool_x_per_user: bucketOf('per_user', 'tool'),
  },
};

/** The samples of a metric: labels and value, without the name. */
function samples(metrics: LimitMetrics, name: string): string[] {
  return metrics
    .text()
    .split('\n')
    .filter((line) => line.startsWith(name) && !line.startsWith('#'))
    .map((line) => line.slice(name.length));
}

const PLACE = 'namespace="default",server="vmcp"';

describe('numbers of limits', () => {
  it('count what each limit said, shadow limits by what they would have said', () => {
    const metrics = new LimitMetrics(IDLE);
    metrics.admitted(seen(['calls', 'burst']));
    metrics.admitted({ ...seen(['calls']), rules: [{ limit: 'trial', shadow: true }], shadowed: ['trial'] });
    metrics.refused(seen(['calls', 'burst'], refusal('burst')));
    expect(samples(metrics, 'tollgate_limit_decisions_total')).toEqual([
      '{limit="calls",verdict="admitted"} 1',
      '{limit="burst",verdict="admitted"} 1',
      '{limit="trial",verdict="shadow_refused"} 1',
      '{limit="burst",verdict="refused"} 1',
    ]);
    expect(metrics.text()).toContain('# TYPE tollgate_limit_decisions_total counter\n');
    expect(metrics.text().endsWith('\n')).toBe(true);
  });

  it('tell what stood in for a store, what the guard refused, and how far the ledger is behind', () => {
    const metrics = new LimitMetrics({
      guardDenials: () => 7,
      refusedCallers: () => ({ not_accepted: 5, blocked: 0 }),
      unrecordedRefusals: () => 4,
      ledgerWaiting: () => 3,
      ledgerDrift: () => -250,
      blockedDefinitions: () => 2,
    });
    for (const degraded of ['local', 'open', 'closed', 'open'] as const) metrics.admitted(seen([], { degraded }));
    expect(samples(metrics, 'tollgate_limit_degraded_total')).toEqual([
      '{policy="local"} 1',
      '{policy="open"} 2',
      '{policy="closed"} 1',
    ]);
    expect(samples(metrics, 'tollgate_session_guard_denials_total')).toEqual([' 7']);
    expect(samples(metrics, 'tollgate_refused_callers_total')).toEqual([
      '{reason="not_accepted"} 5',
      '{reason="blocked"} 0',
    ]);
    expect(samples(metrics, 'tollgate_ledger_waiting')).toEqual([' 3']);
    expect(samples(metrics, 'tollgate_ledger_drift')).toEqual([' -250']);
    expect(samples(new LimitMetrics(IDLE), 'tollgate_ledger_drift')).toEqual([]);
  });

  it('never grow without bound, and quote what Prometheus would misread', () => {
    const registry = new Registry();
    const counter = registry.counter('x_total', 'X.', ['name']);
    counter.add({ name: 'a"b\\c\nd' });
    for (let i = 0; i < 6000; i++) counter.add({ name: `n${i}` });
    const lines = registry.text().split('\n');
    expect(lines[2]).toBe('x_total{name="a\\"b\\\\c\\nd"} 1');
    expect(lines.length).toBeLessThan(5010);
    expect(counter.value({ name: 'other' })).toBe(1001);
  });
});

describe('the metrics of ToolHive', () => {
  it('ToolHive 56: count an admission once per bucket, a refusal once for the first in the way', () => {
    verifies('X3-07');
    const metrics = new LimitMetrics(IDLE);
    metrics.configure(FILE);
    metrics.admitted(seen(['shared', 'tool_x_shared', 'own']));
    metrics.refused(seen(['shared', 'tool_x_shared'], refusal('own', 'tool_x_shared', 'per_user')));
    for (const seconds of [0.0002, 0.3]) metrics.checked(seconds);
    expect(samples(metrics, 'toolhive_rate_limit_decisions_total')).toEqual([
      `{${PLACE},decision="allowed",scope="shared",operation_type="server"} 1`,
      `{${PLACE},decision="allowed",scope="shared",operation_type="tool"} 1`,
      `{${PLACE},decision="rejected",scope="shared",operation_type="tool"} 1`,
    ]);
    const latency = samples(metrics, 'toolhive_rate_limit_check_latency_seconds');
    expect(latency).toContain(`_bucket{${PLACE},le="0.0001"} 0`);
    expect(latency).toContain(`_bucket{${PLACE},le="0.00025"} 1`);
    expect(latency).toContain(`_bucket{${PLACE},le="+Inf"} 2`);
    expect(latency).toContain(`_count{${PLACE}} 2`);
  });

  it('ToolHive 57 and 58: a failed check is no decision, and counts as open once', () => {
    verifies('X3-07', 'R3-19');
    const metrics = new LimitMetrics(IDLE);
    metrics.configure(FILE);
    metrics.admitted(seen(['shared', 'per_user'], { degraded: 'open' }));
    metrics.admitted(seen(['shared'], { degraded: 'local' }));
    metrics.admitted(seen([]));
    expect(samples(metrics, 'toolhive_rate_limit_decisions_total')).toEqual([]);
    expect(samples(metrics, 'toolhive_rate_limit_fail_open_total')).toEqual([`{${PLACE}} 1`]);
  });

  it('ToolHive 59 and 62: without a bucket, or without such a file, there is nothing to count', () => {
    const metrics = new LimitMetrics(IDLE);
    expect(metrics.timesChecks).toBe(false);
    metrics.admitted(seen(['shared'], { degraded: 'open' }));
    metrics.checked(1);
    metrics.storeFailed('deadline');
    metrics.configure(FILE);
    metrics.admitted(seen(['own']));
    expect(samples(metrics, 'toolhive_')).toEqual([]);
  });

  it('ToolHive 60: name scope and operation of each of the four', () => {
    const metrics = new LimitMetrics(IDLE);
    metrics.configure(FILE);
    for (const name of Object.keys(FILE.buckets)) metrics.refused(seen([name], refusal(name)));
    expect(samples(metrics, 'toolhive_rate_limit_decisions_total')).toEqual(
      [
        ['shared', 'server'],
        ['shared', 'tool'],
        ['per_user', 'server'],
        ['per_user', 'tool'],
      ].map(([scope, operation]) => `{${PLACE},decision="rejected",scope="${scope}",operation_type="${operation}"} 1`),
    );
  });

  it('ToolHive 63: sort what went wrong with Redis', () => {
    verifies('X3-07');
    const metrics = new LimitMetrics(IDLE);
    metrics.configure(FILE);
    for (const failure of ['deadline', 'permission', 'connection', 'breaker', 'script', 'readonly'])
      metrics.storeFailed(failure);
    expect(samples(metrics, 'toolhive_rate_limit_redis_errors_total')).toEqual([
      `{${PLACE},error_type="timeout"} 1`,
      `{${PLACE},error_type="auth"} 1`,
      `{${PLACE},error_type="connection"} 2`,
      `{${PLACE},error_type="other"} 2`,
    ]);
  });

  it('time every decision, failed ones too', async () => {
    let times = 0;
    const count = (seconds: number) => {
      expect(seconds).toBeGreaterThanOrEqual(0);
      times++;
    };
    const limiter = timed(new MemoryLimiter(), count);
    const rule = limiter.rule({ algorithm: 'token-bucket', name: 'x', limit: 1, periodMs: 1000 });
    expect((await limiter.decide(new Ask().rule(rule, 1), 0)).allowed).toBe(true);
    expect((await limiter.decide(new Ask().rule(rule, 1), 0)).allowed).toBe(false);
    expect(times).toBe(2);
    const broken = Object.assign(new MemoryLimiter(), { decide: () => Promise.reject(new Error('away')) });
    await expect(timed(broken, count).decide(new Ask(), 0)).rejects.toThrow('away');
    expect(times).toBe(3);
  });
});
