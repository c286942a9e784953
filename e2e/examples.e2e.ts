/** The programs of examples/, as their READMEs say to run them. Each exits with 1 when it sees something wrong. */
import { cp, readFile, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { awayFromTurn } from '@tollgate/testkit/calendar';
import { expectNoSurvivors, startChild } from '@tollgate/testkit/child';
import { TOLLGATE_BIN } from '@tollgate/testkit/gateway';
import { modernBody, modernHeaders } from '@tollgate/testkit/modern-request';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil } from '@tollgate/testkit/wait';
import { beforeEach, expect, it } from 'vitest';
import { TOKENS } from '../examples/proxy/tokens.ts';
import { serverReady } from './report.ts';

const EXAMPLES = resolve(import.meta.dirname, '../examples');
/** As npm scripts have it: the workspace's own Node first. */
const PATH = `${resolve(EXAMPLES, '../node_modules/.bin')}:${process.env['PATH']}`;

beforeEach(() => awayFromTurn('day'));

async function run(program: string, args: readonly string[] = [], cwd: string = EXAMPLES) {
  await using child = await startChild(process.execPath, [program, ...args], { cwd, env: { PATH }, input: '' });
  const { code } = await child.exited;
  return { code, stdout: child.stdout(), transcript: child.transcript() };
}

it('the full proxy serves its client, refuses what it should, and counts it', async () => {
  verifies('R1-49', 'R1-46', 'R1-19', 'R1-20');
  await using proxy = await startChild(process.execPath, [join(EXAMPLES, 'proxy/proxy.ts'), '127.0.0.1:0']);
  const [, url] = await proxy.waitFor(/Serving (http:\S+)/);
  await proxy.waitFor(/\{"math":(true|false),"data":(true|false),"admin":(true|false)\}/);
  const allListed = async (): Promise<boolean> => {
    const headers = [...modernHeaders('tools/list'), ['authorization', `Bearer ${TOKENS.admin}`] as [string, string]];
    const listed = await fetch(url!, { method: 'POST', headers, body: modernBody(1, 'tools/list') });
    const text = await listed.text();
    return ['"calculate"', '"search_users"', '"admin_'].every((name) => text.includes(name));
  };
  await waitUntil('all servers', allListed, { interval: 500 });
  await using client = await startChild(process.execPath, [join(EXAMPLES, 'proxy/client.ts'), url!], { input: '' });
  const { code } = await client.exited;
  expect(client.transcript()).toContain('All as expected.');
  expect(code).toBe(0);
  const children = proxy.descendants();
  expect(await proxy.stop()).toEqual({ code: 0, signal: null });
  expect(proxy.stdout()).toMatch(/Statistics: \d+ calls, \d+ successful, 1 failed, 3 refused/);
  expect(proxy.stdout()).toMatch(/math: 12 calls/);
  expect(children.length).toBeGreaterThan(0);
  await expectNoSurvivors(children);
});

it('the client of the full proxy notices a proxy that is wrong', async () => {
  verifies('R1-49');
  await using client = await startChild(
    process.execPath,
    [join(EXAMPLES, 'proxy/client.ts'), 'http://127.0.0.1:1/mcp'],
    {
      input: '',
    },
  );
  expect((await client.exited).code).toBe(1);
});

it('the embedded gateway answers and ends by itself', async () => {
  verifies('R1-49', 'R1-47');
  await using program = await startChild(process.execPath, [join(EXAMPLES, 'embed/embed.ts')], { input: '' });
  const { code } = await program.exited;
  expect(program.transcript()).toContain('tools/call math/math_add answered');
  expect(program.stdout()).toContain('math_add ran 1 times, 1 calls were refused');
  expect(code).toBe(0);
});

it('budgets: an agent spends what its tier has, is told so in words, and is granted more', async () => {
  // A copy, so that what is spent does not stay in the repository.
  await using folder = await temporaryDirectory('budgets');
  await cp(join(EXAMPLES, 'budgets'), folder.path, { recursive: true });
  await symlink(resolve(EXAMPLES, '../node_modules'), join(folder.path, 'node_modules'));
  const tollgate = (...args: string[]) => run(TOLLGATE_BIN, args, folder.path);
  const serve = () =>
    startChild(process.execPath, [TOLLGATE_BIN, 'serve', 'tollgate.yaml', '--listen', '127.0.0.1:0'], {
      cwd: folder.path,
      env: { PATH },
    });
  await using gateway = await serve();
  const url = (await gateway.waitFor(/http:\/\/127\.0\.0\.1:\d+\/mcp/))[0];
  await serverReady(gateway, 'search', join(folder.path, 'tollgate.yaml'));

  const agent = await run(join(EXAMPLES, 'budgets/agent.ts'), [url]);
  expect(agent.code, agent.transcript).toBe(0);
  expect(agent.stdout).toMatch(
    /^4 searches ran\. Then: Not run\. Today's budget \(spend\) is used up: 1\.00 of 1\.00 USD; .*Ask in #ai-platform for more\. \[tg-/,
  );
  expect(agent.stdout).toMatch(
    /^- spend: 1\.00 USD a day\. 0\.00 of 1\.00 USD left\. Next in .* (h|min|s)\. Full again/m,
  );
  expect(agent.stdout).toContain('- search/web_search costs 0.25 USD.');
  expect(agent.stdout).toContain('- all: shared with others.');
  const plus = await run(join(EXAMPLES, 'budgets/agent.ts'), [url, 'token-of-the-team-example']);
  expect(plus.stdout).toMatch(/^8 searches ran\. Then: Not run\..*2\.00 of 2\.00 USD/);

  expect((await tollgate('budget', 'show', 'anonymous')).stdout).toContain('spend: 1.00 of 1.00 USD used, 0.00 left');
  const more = ['--limit', 'spend', '--until', '2h', '--reason', 'demo'];
  expect((await tollgate('budget', 'grant', 'anonymous', '0.5 USD', ...more)).code).toBe(0);
  expect((await run(join(EXAMPLES, 'budgets/agent.ts'), [url])).stdout).toMatch(/^2 searches ran\./);
  const cases = await tollgate('test', 'cases.yaml', '--config', 'tollgate.yaml');
  expect(cases, cases.transcript).toMatchObject({ code: 0 });
  expect(cases.stdout).toContain('3 of 3 cases passed.');

  // What was reset stays reset over a restart, and what others spent stays spent.
  expect((await tollgate('budget', 'reset', 'anonymous', '--limit', 'spend', '--reason', 'demo')).code).toBe(0);
  await gateway.stop();
  await using again = await serve();
  await again.waitFor(/http:\/\/127\.0\.0\.1:\d+\/mcp/);
  expect((await tollgate('budget', 'show', 'anonymous')).stdout).toContain('spend: 0.00 of 1.50 USD used');
  expect((await tollgate('budget', 'show', 'team/team')).stdout).toContain('spend: 2.00 of 2.00 USD used');
});

it('team: keys, rules and the vault say who may use what, and a revoked key is over at once', async () => {
  verifies('R1-49', 'R1-10');
  const key = 'the-key-of-the-search-server';
  await using folder = await temporaryDirectory('team');
  const place = join(folder.path, 'team');
  await cp(join(EXAMPLES, 'team'), place, { recursive: true });
  await cp(join(EXAMPLES, 'quickstart'), join(folder.path, 'quickstart'), { recursive: true });
  await symlink(resolve(EXAMPLES, '../node_modules'), join(folder.path, 'node_modules'));
  await using search = await startChild(process.execPath, [join(EXAMPLES, 'team/search-server.ts'), '0'], {
    env: { SEARCH_KEY: key },
  });
  const [searchUrl] = await search.waitFor(/http:\/\/127\.0\.0\.1:\d+\/mcp/);
  const file = join(place, 'tollgate.yaml');
  await writeFile(file, (await readFile(file, 'utf8')).replace('http://127.0.0.1:7120/mcp', searchUrl));
  const tollgate = async (args: readonly string[], input = '') => {
    await using child = await startChild(process.execPath, [TOLLGATE_BIN, ...args], {
      cwd: place,
      env: { PATH },
      input,
    });
    expect((await child.exited).code, child.transcript()).toBe(0);
    return child.stdout();
  };
  await tollgate(['vault', 'set', 'search'], key);
  await using gateway = await startChild(
    process.execPath,
    [TOLLGATE_BIN, 'serve', 'tollgate.yaml', '--listen', '127.0.0.1:0'],
    { cwd: place, env: { PATH } },
  );
  const [url] = await gateway.waitFor(/http:\/\/127\.0\.0\.1:\d+\/mcp/);
  await serverReady(gateway, 'search', file);
  await serverReady(gateway, 'notes', file);
  const make = async (...args: string[]) =>
    JSON.parse(await tollgate(['keys', 'create', ...args, '--json'])) as { key: string; id: string };
  const ada = await make('ada', '--tenant', 'research', '--roles', 'writer', '--expires', '90d');
  const bob = await make('bob');

  const ask = (path: string, who: { key: string }, body?: object) =>
    fetch(`${url}/tools/${path}`, {
      headers: { authorization: `Bearer ${who.key}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
    });
  const tools = async (who: { key: string }) => {
    const { tools } = (await (await ask('available', who)).json()) as { tools: { name: string }[] };
    return tools.map(({ name }) => name).toSorted();
  };
  expect(await tools(ada)).toEqual(['add_note', 'add_numbers', 'list_notes', 'web_search']);
  expect(await tools(bob)).toEqual(['list_notes']);
  const query = { tool_name: 'web_search', parameters: { query: 'tollgates' } };
  expect(await (await ask('invoke', ada, { ...query, user_id: 'ada' })).json()).toMatchObject({
    result: { content: [{ text: 'Three pages about tollgates.' }] },
  });
  expect((await ask('invoke', bob, { ...query, user_id: 'bob' })).status).toBe(404);

  const question = ['explain', '--tool', 'search/web_search', '--caller'];
  expect(await tollgate([...question, 'keys/bob'])).toContain('hidden by `access`: access[2] is for tenant:research');
  expect(await tollgate([...question, 'keys/ada', '--tenant', 'research'])).toContain('allowed by access[2]');
  await tollgate(['keys', 'revoke', ada.id]);
  expect((await ask('available', ada)).status).toBe(401);
});

it('middleware: an API and an MCP endpoint spend one budget', async () => {
  await using program = await startChild(process.execPath, [join(EXAMPLES, 'middleware/server.ts'), '0'], {
    env: { PATH },
  });
  const [, api, mcp] = await program.waitFor(/Serving (http:\S+) and (http:\S+)/);
  const report = (token: string) => fetch(`${api}/report`, { headers: { authorization: `Bearer ${token}` } });
  const ada = 'token-of-ada-example';
  expect(await Promise.all([(await report(ada)).text(), (await report(ada)).text()])).toEqual([
    'A report.\n',
    'A report.\n',
  ]);
  const third = await report(ada);
  expect(third.status).toBe(429);
  expect(third.headers.get('retry-after')).toMatch(/^\d+$/);
  expect(await third.json()).toEqual({ error: 'Rate limit exceeded', reason: 'daily_cost_exceeded' });
  expect((await report('somebody')).status).toBe(403);
  expect((await fetch(`${api}/health`)).status).toBe(200);
  // One dollar of five is left for searches.
  const agent = await run(join(EXAMPLES, 'budgets/agent.ts'), [mcp!, ada]);
  expect(agent.stdout, agent.transcript).toMatch(/^4 searches ran\..*5\.00 of 5\.00 USD/);
  expect(await program.stop()).toEqual({ code: 0, signal: null });
});
