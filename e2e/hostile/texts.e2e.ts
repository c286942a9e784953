/** Texts of clients, servers and files as attacks on the terminal and the log of the operator. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startChild } from '@tollgate/testkit/child';
import { type RunningGateway, startGateway, TOLLGATE_BIN } from '@tollgate/testkit/gateway';
import { exchange } from '@tollgate/testkit/raw-http';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { waitUntil } from '@tollgate/testkit/wait';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callTool, LEGACY_HEADERS, openSession, type ScriptedServer, sendJson, startScripted } from './kit.ts';

/** Clears the screen, sets a title, colours, breaks lines in four ways, turns text round, and then claims something. */
const EVIL =
  '\u001b[2J\u001b]0;title\u0007\u009b31m\r\nFORGED line\u2028FORGED again\u0085FORGED too\u202eFORGED turned\u0008\u007f';
/** The end of every claim: no line of any output may begin with it, and no control may stand before it. */
const CONTROLS = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/;

function expectHarmless(text: string, where: string): void {
  expect(text, where).not.toMatch(CONTROLS);
  for (const line of text.split('\n')) expect(line.trimStart().startsWith('FORGED'), `${where}: ${line}`).toBe(false);
}

/** A child that dies with a last word. */
const DYING = `process.stderr.write(${JSON.stringify(`fatal: ${EVIL}\n`)}); process.exit(1);`;

describe('texts with line breaks and terminal controls', () => {
  const stack = new AsyncDisposableStack();
  let gateway: RunningGateway;
  let server: ScriptedServer;
  let refusing: ScriptedServer;
  beforeAll(async () => {
    const schema = { type: 'object' };
    server = stack.use(
      await startScripted({
        era: 'legacy',
        instructions: EVIL,
        tools: [
          { name: 'plain', description: EVIL, title: EVIL, inputSchema: schema },
          { name: `evil${EVIL}`, inputSchema: schema },
          { name: 'odd', inputSchema: { type: 'object', properties: { a: { 'x-mcp-header': EVIL, type: 'string' } } } },
        ],
        call: ({ message }, response) =>
          sendJson(
            response,
            JSON.stringify({ jsonrpc: '2.0', id: message.id, error: { code: -32000, message: EVIL } }),
          ),
      }),
    );
    refusing = stack.use(await startScripted({ era: 'legacy', tools: [], refuses: `refused ${EVIL}` }));
    gateway = stack.use(
      await startGateway({
        version: 1,
        limits: { calls: { on: 'tools/call', tool: 'server/plain', by: 'principal', limit: '3/h', message: 'Ask.' } },
        servers: {
          server: { url: server.url, protocol: 'legacy' },
          refusing: { url: refusing.url, protocol: 'legacy' },
          dying: { command: process.execPath, args: ['-e', DYING], protocol: 'legacy' },
        },
      }),
    );
  });
  afterAll(() => stack.disposeAsync());

  async function command(...args: string[]): Promise<string> {
    await using child = await startChild(process.execPath, [TOLLGATE_BIN, ...args], { cwd: gateway.folder });
    await child.exited;
    return child.stdout() + child.stderr();
  }

  /** Calls and methods with such names, from a legacy client, whose headers say nothing. */
  async function hostileCalls(): Promise<void> {
    const session = await openSession(gateway.port);
    const headers = [...LEGACY_HEADERS, ['Mcp-Session-Id', session] as const];
    const bodies = [
      { method: `evil${EVIL}`, params: {} },
      { method: 'tools/call', params: { name: EVIL } },
      { method: 'tools/call', params: { name: `evil${EVIL}` } },
      { method: 'tools/call', params: { name: 'plain' } },
      { method: 'prompts/get', params: { name: EVIL } },
      { method: 'resources/read', params: { uri: `file:///${EVIL}` } },
      { method: 'logging/setLevel', params: { level: EVIL } },
      {
        method: 'initialize',
        params: { protocolVersion: EVIL, capabilities: {}, clientInfo: { name: EVIL, version: EVIL } },
      },
    ];
    for (const [id, body] of bodies.entries()) {
      const text = JSON.stringify({ jsonrpc: '2.0', id, ...body });
      const response = await exchange(gateway.port, { headers, body: text });
      expect(response.body, text).toContain(`"id":${id}`);
    }
    for (const [name, value] of [
      ['User-Agent', 'x\u001b[2Jy'],
      ['Origin', 'http://\u009bevil'],
      ['Mcp-Session-Id', '\u001b[2J'],
    ] as const) {
      await exchange(gateway.port, { headers: [...LEGACY_HEADERS, [name, value]], body: '{}' }).catch(() => undefined);
    }
  }

  it('do not reach the terminal in `status`, nor forge a line of it', async () => {
    await hostileCalls();
    const text = await waitUntil('the words of all servers', async () => {
      const shown = await command('status', gateway.configFile);
      return ['dying', 'fatal:', 'refused'].every((word) => shown.includes(word)) && shown;
    });
    expectHarmless(text, 'status');
    expectHarmless(await command('status', gateway.configFile, '--json'), 'status --json');
    expectHarmless(await command('doctor', gateway.configFile), 'doctor');
  });

  it('do not reach the terminal in `tail`, nor forge a line of it', async () => {
    await using child = await startChild(process.execPath, [TOLLGATE_BIN, 'tail', gateway.configFile], {
      cwd: gateway.folder,
    });
    await using data = await startChild(process.execPath, [TOLLGATE_BIN, 'tail', gateway.configFile, '--json'], {
      cwd: gateway.folder,
    });
    // Both watch when they show a call.
    const watched = async (): Promise<void> => {
      for (;;) {
        await callTool(gateway.port, 'watching');
        if (/tools\/call/.test(child.stdout()) && /tools\/call/.test(data.stdout())) return;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    };
    await watched();
    await hostileCalls();
    await child.waitFor(/logging\/setLevel/);
    await data.waitFor(/logging\/setLevel/);
    expect(child.stdout()).toMatch(/evil.*FORGED/);
    expectHarmless(child.stdout(), 'tail');
    expectHarmless(data.stdout(), 'tail --json');
  });

  it('do not get into the log as they are', async () => {
    await hostileCalls();
    await callTool(gateway.port, 'plain');
    await gateway.child.waitFor(/FORGED/);
    const log = gateway.child.stderr();
    // Of the last line a part may have come so far.
    for (const line of log.slice(0, log.lastIndexOf('\n')).split('\n')) {
      expect(() => JSON.parse(line), line).not.toThrow();
      expectHarmless(line.replaceAll('\\n', ' '), 'log');
    }
    expectHarmless(gateway.child.stdout(), 'start-up report');
  });
});

it('texts of a configuration do not reach the terminal either', async () => {
  await using folder = await temporaryDirectory('hostile-config');
  const file = join(folder.path, 'tollgate.yaml');
  const config = {
    version: 1,
    [`evil${EVIL}`]: EVIL,
    publicUrl: EVIL,
    servers: {
      [`x${EVIL}`]: { command: EVIL },
      y: { url: EVIL, [EVIL]: 1 },
      z: { command: 'node', args: [EVIL], cwd: EVIL },
    },
    limits: { a: { by: EVIL, limit: EVIL, tool: EVIL } },
    endpoints: { [`/${EVIL}`]: {}, '/mcp': { servers: [EVIL] } },
    routes: [{ tool: EVIL, to: EVIL }],
  };
  await writeFile(file, JSON.stringify(config));
  for (const name of ['validate', 'serve', 'explain', 'doctor']) {
    await using child = await startChild(process.execPath, [TOLLGATE_BIN, name, file], { cwd: folder.path });
    expect((await child.exited).code).toBe(name === 'doctor' ? 1 : 2);
    expect(child.stdout() + child.stderr()).toContain('FORGED');
    expectHarmless(child.stdout() + child.stderr(), name);
  }
});

it('names of the prototype in a configuration are refused by name, wherever they stand', async () => {
  await using folder = await temporaryDirectory('prototype-config');
  const file = join(folder.path, 'tollgate.yaml');
  const keys = (name: string) => [
    `${name}: {}`,
    'servers:',
    `  ${name}: { command: x }`,
    `  a: { command: x, ${name}: { env: {} } }`,
    `  b: { command: x, env: { ${name}: y } }`,
    `  c: { url: "http://127.0.0.1:1/", headers: { ${name}: y } }`,
    `limits: { ${name}: { by: everyone, limit: 1/s } }`,
    `tools: { ${name}: { timeout: 1s } }`,
  ];
  const values = (name: string) => [
    'servers:',
    '  a: { command: x }',
    `auth: [{ name: ${name}, bearer: { token: "5d41402abc4b2a76b9719d911017c592" } }]`,
    `endpoints: { /mcp: { servers: [${name}] } }`,
    `routes: [{ to: ${name} }]`,
  ];
  for (const name of ['__proto__', 'constructor', 'prototype']) {
    for (const lines of [keys(name), values(name)]) {
      await writeFile(file, ['version: 1', ...lines, ''].join('\n'));
      await using child = await startChild(process.execPath, [TOLLGATE_BIN, 'validate', file], { cwd: folder.path });
      expect((await child.exited).code).toBe(2);
      const said = child.stdout() + child.stderr();
      for (const [index, line] of lines.entries()) {
        if (line.includes(name)) expect(said, `${line}\n${said}`).toContain(`tollgate.yaml:${index + 2}:`);
      }
    }
  }
});
