/** The operations of a gateway in this process, over its real limits and its real catalog. */
import { type FakeHttpServer, startFakeHttp } from '@tollgate/testkit/fake-http';
import { verifies } from '@tollgate/testkit/verifies';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createGateway, createOperations, type GatewayHandle, TollgateError } from '../../index.ts';
import { clientUsage, guardMcp, upgradeClient } from '../../middleware/index.ts';
import type { OperationAnswer } from './operations.ts';

let fake: FakeHttpServer;
let gateway: GatewayHandle;

beforeEach(async () => {
  fake = await startFakeHttp('modern');
  gateway = await createGateway({ preset: 'mcp', servers: { fake: { url: fake.url } } });
  await gateway.settled();
});

afterEach(async () => {
  await gateway.close();
  await fake[Symbol.asyncDispose]();
});

describe('createOperations', () => {
  it("answers the seed's example by the real tables", async () => {
    verifies('R0-31', 'R0-32', 'R0-42');
    const operations = createOperations(gateway);
    const answer = await operations.process(
      { operation: 'check_mcp_limit', client_id: 'client_123', endpoint: 'tools/call' },
      { estimated_cost: 2.5, tier: 'standard' },
    );
    expect(answer).toMatchObject({
      status: 'success',
      allowed: true,
      operation: 'check_mcp_limit',
      metadata: {
        client_tier: 'standard',
        endpoint: 'tools/call',
        estimated_cost: 2.5,
        endpoint_limit: 30,
        effective_limit: 150,
        burst_allowance: 50,
      },
    });
    expect(await operations.process({ operation: 'get_mcp_statistics', client_id: 'client_123' })).toMatchObject({
      statistics: { tier: 'basic', costs: { hourly: 2.5, daily: 2.5, total: 2.5 } },
    });
  });

  it('admits exactly what there is room for, in a batch and by the guard alike', async () => {
    verifies('R0-08', 'R0-46', 'R0-48', 'R0-69');
    const operations = createOperations(gateway);
    const batch = await operations.process(new Array(100).fill({ client_id: 'alice', endpoint: 'tools/call' }));
    expect(batch.filter(({ allowed }) => allowed === true)).toHaveLength(40);
    expect(batch[99]).toMatchObject({ allowed: false, reason: 'rate_limit_exceeded', retry_after_seconds: 2 });
    const handle = guardMcp(async () => 'done', {
      limiter: operations,
      clientId: () => 'alice',
      endpoint: () => 'tools/call',
    });
    expect(await handle({})).toMatchObject({ error: 'Rate limit exceeded', reason: 'rate_limit_exceeded' });
    expect(await upgradeClient(operations, 'alice', 'premium')).toBe(true);
    expect(await handle({})).toBe('done');
    expect(await clientUsage(operations, 'alice')).toMatchObject({ statistics: { tier: 'premium' } });
  });

  it('resets, stops and resumes', async () => {
    verifies('X0-08', 'R0-18');
    const operations = createOperations(gateway);
    const check = (): Promise<OperationAnswer> =>
      operations.process({ client_id: 'alice', endpoint: 'prompts/get', estimated_cost: 1 });
    for (let i = 0; i < 30; i++) await check();
    expect(await check()).toMatchObject({ allowed: false });
    expect(await operations.process({ operation: 'reset_limits', client_id: 'alice' })).toMatchObject({
      status: 'success',
      reset: expect.arrayContaining(['prompts_get', 'cost_hourly', 'cost_daily']),
    });
    expect(await check()).toMatchObject({ allowed: true });
    expect(await operations.process({ operation: 'emergency_stop', reason: 'drill' })).toMatchObject({ stopped: true });
    expect(await check()).toMatchObject({ allowed: false, reason: 'emergency_stop' });
    expect(await operations.process({ operation: 'emergency_stop', action: 'resume' })).toMatchObject({
      changed: true,
    });
    expect(await check()).toMatchObject({ allowed: true });
  });

  it('scans what is configured and what servers offer', async () => {
    verifies('R0-37');
    const answer = await createOperations(gateway).process({ operation: 'security_scan' });
    expect(answer).toMatchObject({ status: 'success', metadata: { scanned: 'configuration' } });
    expect(await createOperations(gateway).process({ operation: 'get_status' })).toMatchObject({
      rate_limiter_status: 'operational',
      mcp_integration: 'enabled',
      valid_tiers: ['basic', 'standard', 'premium'],
    });
  });

  it('takes only a gateway of this library', () => {
    expect(() => createOperations({} as GatewayHandle)).toThrow(TollgateError);
  });
});
