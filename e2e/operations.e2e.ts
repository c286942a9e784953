/** Operations of a running gateway from outside: the command line and the admin address. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { awayFromTurn } from '@tollgate/testkit/calendar';
import { canary } from '@tollgate/testkit/canaries';
import { type RunningGateway, runTollgate, startGateway } from '@tollgate/testkit/gateway';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { verifies } from '@tollgate/testkit/verifies';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const CONFIG = {
  version: 1,
  preset: 'mcp',
  servers: { none: { url: 'http://127.0.0.1:9/mcp' } },
  auth: [
    { name: 'corp', bearer: { token: '${file:./ada.token}', subject: 'ada', roles: ['user'] } },
    { anonymous: { tier: 'basic' } },
  ],
};
const ADA = canary('ada');

let folder: Awaited<ReturnType<typeof temporaryDirectory>>;
let gateway: RunningGateway;
beforeAll(async () => {
  folder = await temporaryDirectory('operations');
  await writeFile(join(folder.path, 'ada.token'), ADA);
  gateway = await startGateway(CONFIG, { folder: folder.path });
});
afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

const op = (...args: readonly string[]) => runTollgate(['op', ...args], gateway.folder);

async function post(path: string, token: string | undefined, body: unknown): Promise<Response> {
  return fetch(gateway.url(path), {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify(body),
  });
}

describe('tollgate op', () => {
  it('lists the operations, runs the default one, and any other', async () => {
    verifies('R0-45', 'R0-32');
    expect((await op('list')).stdout).toContain('check_mcp_limit');
    const byDefault = await op(gateway.configFile);
    expect(byDefault.code).toBe(0);
    expect(byDefault.stdout).toContain('"operation":"check_mcp_limit"');
    const input = {
      operation: 'check_mcp_limit',
      client_id: 'client_123',
      endpoint: 'tools/call',
      estimated_cost: 2.5,
      tier: 'standard',
    };
    const { stdout } = await op(gateway.configFile, '--input', JSON.stringify(input));
    expect(stdout).toContain('"allowed":true');
    expect(stdout).toContain('"endpoint_limit":30');
    expect(stdout).toContain('"effective_limit":150');
  });

  it('says by its exit code that something was wrong', async () => {
    verifies('R0-39', 'R0-45');
    const unknown = await op(gateway.configFile, '--input', '{"operation":"nope"}');
    expect(unknown).toMatchObject({ code: 1 });
    expect(unknown.stdout).toContain('supported_operations');
    expect(await op(gateway.configFile, '--input', '{nope')).toMatchObject({ code: 2 });
  });
});

describe('/v1 on the admin address', () => {
  it('answers the admin, a user about itself, and nobody with a wrong credential', async () => {
    verifies('R0-53', 'C-22');
    const admin = (await readFile(join(gateway.folder, '.tollgate/admin.token'), 'utf8')).trim();
    const global = await post('/v1/ops', admin, { operation: 'get_mcp_statistics', client_id: 'anonymous' });
    expect(await global.json()).toMatchObject({ status: 'success', statistics: { total_cost: expect.any(Number) } });
    const own = await post('/v1/ops', ADA, { operation: 'get_mcp_statistics' });
    expect(await own.json()).toMatchObject({ statistics: { client_id: 'corp/ada', tier: 'basic' } });
    expect((await post('/v1/ops', ADA, { operation: 'get_mcp_statistics', client_id: 'anonymous' })).status).toBe(403);
    expect((await post('/v1/ops', 'wrong-token-0123456789', {})).status).toBe(401);
  });

  it('reserves and settles', async () => {
    await awayFromTurn('hour', 5_000);
    const reserved = await post('/v1/holds', ADA, { endpoint: 'tools/call', estimated_cost: 0.75 });
    expect(reserved.status).toBe(201);
    const { id } = (await reserved.json()) as { readonly id: string };
    const settled = await post(`/v1/holds/${id}/settle`, ADA, { cost: 0.5 });
    expect(await settled.json()).toMatchObject({ state: 'settled', charged: 0.5 });
    const statistics = await post('/v1/ops', ADA, { operation: 'get_mcp_statistics' });
    expect(await statistics.json()).toMatchObject({ statistics: { costs: { hourly: 0.5 } } });
  });
});
