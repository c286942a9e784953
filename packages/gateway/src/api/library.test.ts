/** What a gateway of the library serves beside MCP, and what its program can do with it without a port. */
import { startFakeHttp } from '@tollgate/testkit/fake-http';
import { waitUntil } from '@tollgate/testkit/wait';
import { describe, expect, it } from 'vitest';
import { createControl, createGateway, type GatewayConfig, type GatewayOptions } from '../index.ts';

const TOKEN = 'token-of-the-program-0123456789ab';
const bearer = (name: string, roles: string[] = ['user']) => ({
  name,
  bearer: { token: `token-of-${name}-0123456789`, subject: name, roles },
});

async function start(more: Partial<GatewayConfig> = {}, options: GatewayOptions = {}) {
  const stack = new AsyncDisposableStack();
  const fake = stack.use(await startFakeHttp('modern'));
  const config: GatewayConfig = {
    listen: '127.0.0.1:0',
    servers: { fake: { url: fake.url } },
    auth: [bearer('ada'), bearer('op', ['operator'])],
    limits: { calls: { by: 'principal', limit: '100/min' } },
    ...more,
  };
  const gateway = stack.use(await createGateway(config, options));
  const { url, control } = await gateway.listen();
  await gateway.settled();
  const ask = async (path: string, token: string | undefined, body?: object) => {
    const response = await fetch(url + path, {
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, text };
  };
  const invoke = (token: string, name = 'ada') =>
    ask('/mcp/tools/invoke', token, { tool_name: 'echo', parameters: { text: 'hello' }, user_id: `${name}/${name}` });
  return { stack, config, gateway, url, control, ask, invoke };
}

describe('a gateway of the library', () => {
  it('serves neither user API nor control API unless it is told to', async () => {
    const { stack, ask } = await start();
    await using _ = stack;
    for (const path of ['/api-keys', '/mcp/tools/available', '/api/v1/status', '/v1/ops', '/metrics']) {
      expect([path, (await ask(path, 'token-of-op-0123456789')).status]).toEqual([path, 404]);
    }
  });

  it('serves the user API to callers, and the admin surfaces to roles and to the token of its program', async () => {
    const { stack, ask, invoke, url, control } = await start({}, { userApi: true, controlApi: { token: TOKEN } });
    await using _ = stack;
    expect(control).toBe(url);
    expect((await ask('/mcp/tools/available', undefined)).status).toBe(401);
    const tools = await ask('/mcp/tools/available', 'token-of-ada-0123456789');
    expect([tools.status, tools.text.includes('echo')]).toEqual([200, true]);
    expect((await invoke('token-of-ada-0123456789')).status).toBe(200);
    for (const path of ['/api/v1/status', '/metrics']) {
      expect((await ask(path, 'token-of-ada-0123456789')).status).toBe(403);
      expect((await ask(path, 'token-of-op-0123456789')).status).toBe(200);
      expect((await ask(path, TOKEN)).status).toBe(200);
      expect((await ask(path, `${TOKEN}x`)).status).toBe(401);
    }
    expect((await ask('/v1/ops', TOKEN, { operation: 'get_status' })).status).toBe(200);
    const reload = await ask('/api/v1/reload', TOKEN, {});
    expect([reload.status, reload.text]).toEqual([400, expect.stringContaining('apply()')]);
    await expect(createGateway({ servers: {} }, { controlApi: { token: 'short' } })).rejects.toMatchObject({
      code: 'usage',
    });
  });

  it('is asked for everything that operators do, without a port', async () => {
    const { stack, gateway, invoke } = await start({}, { userApi: true });
    await using _ = stack;
    const control = createControl(gateway);
    const block = await control.ask<{ id: string }>('POST', '/blocks', { who: 'ada/ada', reason: 'incident' });
    expect((await invoke('token-of-ada-0123456789')).status).toBe(403);
    await control.ask('DELETE', `/blocks/${block.id}`);
    expect((await invoke('token-of-ada-0123456789')).status).toBe(200);
    const { decisions } = await control.ask<{ decisions: { verdict: string }[] }>('GET', '/decisions');
    expect(decisions.map(({ verdict }) => verdict).sort()).toEqual(['admitted', 'refused']);
    expect(await control.ask('GET', '/decisions?format=jsonl&verdict=refused')).toMatch(/^\{.*\}\n$/);
    expect(await control.ask('GET', '/budgets?principal=ada/ada')).toMatchObject({
      limits: [{ limit: 'calls', used: 1 }],
    });
    await expect(control.ask('GET', '/decisions/tg-none')).rejects.toMatchObject({ code: 'not_found', http: 404 });
    await expect(control.ask('POST', '/blocks', { who: 'x' })).rejects.toMatchObject({ code: 'invalid_params' });
    await expect(control.ask('GET', '/calls')).rejects.toMatchObject({ code: 'usage' });
    await expect(control.ask('GET', 'status')).rejects.toMatchObject({ code: 'usage' });
    expect(() => createControl({} as never)).toThrow('createControl needs a gateway that createGateway made');
  });

  it('puts a changed secret in force wherever it stands, also while another configuration is applied', async () => {
    const { stack, config, gateway, invoke } = await start({}, { userApi: true });
    await using _ = stack;
    const control = createControl(gateway);
    const set = (value: string) => control.ask('POST', '/vault/set', { name: 'ci', value });
    await set('the-first-token-0123456789');
    const ci = { name: 'ci', bearer: { token: '${vault:ci}', subject: 'ci' } };
    await gateway.apply({ ...config, auth: [ci] });
    expect((await invoke('the-first-token-0123456789', 'ci')).status).toBe(200);
    // The change is read while the next configuration is on its way: neither may undo the other.
    await Promise.all([set('the-second-token-0123456789'), gateway.apply({ ...config, auth: [ci, bearer('eve')] })]);
    await waitUntil(
      'the new value counts',
      async () => (await invoke('the-second-token-0123456789', 'ci')).status === 200,
    );
    expect((await invoke('the-first-token-0123456789', 'ci')).status).toBe(401);
    expect((await invoke('token-of-eve-0123456789', 'eve')).status).toBe(200);
    await control.ask('POST', '/vault/revoke', { name: 'ci', reason: 'seen in a log' });
    await waitUntil('it is closed', async () => (await invoke('the-second-token-0123456789', 'ci')).status === 401);
  });
});
