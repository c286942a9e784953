/** The vault on the real command line: without a gateway, with one, and what an attacker finds afterwards. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { canary } from '@tollgate/testkit/canaries';
import { runTollgate, startGateway } from '@tollgate/testkit/gateway';
import { modernBody, modernHeaders, modernMeta } from '@tollgate/testkit/modern-request';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { verifies } from '@tollgate/testkit/verifies';
import { afterAll, beforeAll, expect, it } from 'vitest';

type Json = Record<string, unknown>;
const CANARY = canary('vault');
const HINTS = { ttlMs: 60_000, cacheScope: 'private', resultType: 'complete' };
const keys: (string | undefined)[] = [];
const upstream = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const { id, method } = JSON.parse(Buffer.concat(chunks).toString()) as { id?: number; method: string };
    if (method === 'tools/call') keys.push(request.headers['x-api-key'] as string | undefined);
    const results: Record<string, Json> = {
      'server/discover': { supportedVersions: ['2026-07-28'], capabilities: { tools: {} }, ...HINTS },
      'tools/list': { tools: [{ name: 'work', inputSchema: { type: 'object' } }], ...HINTS },
      'tools/call': { content: [], resultType: 'complete' },
    };
    response
      .writeHead(200, { 'content-type': 'application/json' })
      .end(JSON.stringify({ jsonrpc: '2.0', id, result: results[method] ?? {} }));
  });
});
/** Prints the variable that it was given, as a digest, on its standard error, and ends. */
const CHILD = `const {createHash}=require('node:crypto');console.error('given '+createHash('sha256').update(process.env.SECRET??'').digest('hex'));`;

let folder: Awaited<ReturnType<typeof temporaryDirectory>>;
let config: object;
const everything: string[] = [];
const tollgate = async (args: readonly string[], input = '') => {
  const finished = await runTollgate(args, folder.path, input);
  everything.push(finished.stdout, finished.stderr);
  return finished;
};
const configured = ['--config', 'tollgate.yaml'];

beforeAll(async () => {
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(upstream.address() as AddressInfo).port}/mcp`;
  folder = await temporaryDirectory('vault');
  config = {
    servers: {
      exa: { url, headers: { 'x-api-key': '${vault:exa}' } },
      child: { command: process.execPath, args: ['-e', CHILD], env: { SECRET: '${vault:exa}' } },
    },
    endpoints: { '/mcp': { servers: ['exa'] } },
    auth: [{ name: 'ci', bearer: { token: '${vault:ci}', subject: 'ci', roles: ['user'] } }],
  };
  writeFileSync(join(folder.path, 'tollgate.yaml'), JSON.stringify(config));
});
afterAll(async () => {
  await folder?.[Symbol.asyncDispose]();
  upstream.close();
});

it('keeps what goes in, gives it to the server that names it, and shows it nowhere', async () => {
  verifies('R2-22');
  const token = `${CANARY}-token-0123456789`;
  // Without a gateway: refused until everything is there, and then the master key is made.
  const early = await tollgate(['serve', 'tollgate.yaml', '--listen', '127.0.0.1:0']);
  expect(early).toMatchObject({ code: 1, stderr: expect.stringContaining('tollgate vault set ci') });
  expect(await tollgate(['vault', 'set', 'ci', ...configured], `${token}\n`)).toMatchObject({ code: 0 });
  expect(await tollgate(['vault', 'set', 'exa', ...configured], `${CANARY}-1\n`)).toMatchObject({ code: 0 });
  const wrong = await tollgate(['vault', 'set', 'gpt', '--provider', 'openai', ...configured], `${CANARY}\n`);
  expect(wrong).toMatchObject({ code: expect.not.toBeOneOf([0]), stderr: expect.stringContaining('begins with sk-') });
  const probed = await tollgate(['validate', '--probe', '--json', 'tollgate.yaml']);
  const { probe } = JSON.parse(probed.stdout) as { probe: { servers: { name: string; problem?: unknown }[] } };
  expect(probe.servers.find(({ name }) => name === 'exa')).not.toHaveProperty('problem');
  expect(statSync(join(folder.path, '.tollgate/master.key')).mode & 0o777).toBe(0o600);

  {
    await using gateway = await startGateway(config, { folder: folder.path });
    const call = async (as: string): Promise<number> => {
      const params = { name: 'work', arguments: {} };
      const response = await fetch(gateway.url(), {
        method: 'POST',
        headers: { ...Object.fromEntries(modernHeaders('tools/call', params)), authorization: `Bearer ${as}` },
        body: modernBody(1, 'tools/call', { _meta: modernMeta(), ...params }),
      });
      everything.push(await response.text());
      return response.status;
    };
    expect(await call(token)).toBe(200);
    expect(keys.at(-1)).toBe(`${CANARY}-1`);
    // The process got it in its environment, and nobody else sees it there.
    const digest = createHash('sha256').update(`${CANARY}-1`).digest('hex');
    await gateway.child.waitFor(new RegExp(`given ${digest}`));
    const status = await tollgate(['status', 'tollgate.yaml', '--json']);
    expect(status.code).toBe(0);

    // With one: in force at the next use; a credential that was revoked opens nothing from then on.
    expect(await tollgate(['vault', 'set', 'exa', ...configured], `${CANARY}-2`)).toMatchObject({ code: 0 });
    expect(await call(token)).toBe(200);
    expect(keys.at(-1)).toBe(`${CANARY}-2`);
    const listed = await tollgate(['vault', 'list', '--json', ...configured]);
    expect(JSON.parse(listed.stdout)).toMatchObject({
      secrets: [
        { id: { name: 'ci' }, state: 'active' },
        { id: { name: 'exa' }, version: 2, fingerprint: expect.stringMatching(/^[0-9a-f]{12}$/) },
      ],
    });
    expect(await tollgate(['vault', 'rotate', ...configured])).toMatchObject({ code: 0 });
    expect(await tollgate(['vault', 'rewrap', ...configured])).toMatchObject({
      code: 0,
      stdout: 'Moved 2 sealed values to the newest master key, 0 are left.\n',
    });
    expect(await tollgate(['vault', 'revoke', 'ci', '--reason', 'seen in a chat', ...configured])).toMatchObject({
      code: 0,
    });
    await expect.poll(() => call(token)).toBe(401);
    // Suspected exposure in one step: the old value is gone, the new one is in use, and it is told.
    const hasty = await tollgate(['vault', 'revoke', 'exa', '--reason', 'x', '--replace', ...configured], '\n');
    expect(hasty).toMatchObject({ code: 2 });
    const replaced = ['vault', 'revoke', 'ci', '--reason', 'seen in a chat', '--replace', ...configured];
    expect(await tollgate(replaced, `${token}-new\n`)).toMatchObject({ code: 0 });
    await expect.poll(() => call(`${token}-new`)).toBe(200);
    expect(await call(token)).toBe(401);
    everything.push(gateway.child.transcript());
    const commandLines = readdirSync('/proc').flatMap((pid) => {
      try {
        return /^\d+$/.test(pid) ? [readFileSync(`/proc/${pid}/cmdline`, 'utf8')] : [];
      } catch {
        return [];
      }
    });
    everything.push(...commandLines.filter((line) => line.includes('tollgate')));
  }

  const files = readdirSync(folder.path, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
  everything.push(...files.map((file) => readFileSync(join(file.parentPath, file.name), 'latin1')));
  expect(files.length).toBeGreaterThan(3);
  expect(everything.filter((text) => text.includes(CANARY))).toEqual([]);
  expect(everything.join('')).toContain('seen in a chat');
});

it('moves secrets out of a file of MCP clients and leaves the rest of it as it is', async () => {
  const file = join(folder.path, 'imported.mcp.json');
  const text = `{
    // Written by hand.
    "mcpServers": {
      "git hub": { "type": "http", "url": "https://api.example/mcp",   "headers": { "Authorization": "Bearer ghp_${'a1'.repeat(18)}", "X-Mode": "fast" } },
      "files": { "command": "x", "env": { "API_KEY": "k-${CANARY}-0", "HOME_DIR": "/tmp", "OTHER_KEY": "\${OTHER}" } }
    },
  }
`;
  writeFileSync(file, text);
  const vaultOf = ['--config', 'tollgate.yaml'];
  // Through a link too: in the file that it leads to the secrets would stay.
  const linked = join(folder.path, 'linked.json');
  symlinkSync(file, linked);
  const dry = await runTollgate(['vault', 'import', file, '--dry-run', ...vaultOf], folder.path);
  expect(dry).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('git hub: Authorization → ${vault:git-hub.Authorization}'),
  });
  expect(readFileSync(file, 'utf8')).toBe(text);
  const done = await runTollgate(['vault', 'import', linked, ...vaultOf], folder.path);
  expect(done).toMatchObject({ code: 0, stderr: '' });
  expect(readFileSync(file, 'utf8')).toBe(
    text
      .replace(`Bearer ghp_${'a1'.repeat(18)}`, 'Bearer ${vault:git-hub.Authorization}')
      .replace(`k-${CANARY}-0`, '${vault:files.API_KEY}'),
  );
  const backup = readdirSync(folder.path).find((name) => name.startsWith('imported.mcp.json.before-vault-'))!;
  expect(readFileSync(join(folder.path, backup), 'utf8')).toBe(text);
  expect(statSync(join(folder.path, backup)).mode & 0o777).toBe(0o600);
  const listed = await runTollgate(['vault', 'list', '--json', ...vaultOf], folder.path);
  expect(JSON.parse(listed.stdout)).toMatchObject({
    secrets: expect.arrayContaining([
      expect.objectContaining({ id: expect.objectContaining({ name: 'files.API_KEY' }), labels: { server: 'files' } }),
    ]),
  });
});

it('runs no helper of a configuration that was found and not approved', async () => {
  const found = join(folder.path, 'clone');
  mkdirSync(found);
  const helper = [process.execPath, '-e', `require('node:fs').writeFileSync('${join(found, 'ran')}', '')`];
  writeFileSync(
    join(found, 'tollgate.yaml'),
    JSON.stringify({ servers: { a: { command: 'x' } }, vault: { keys: { command: helper } }, dataDir: '.' }),
  );
  const finished = await runTollgate(['vault', 'set', 'x'], found, CANARY);
  expect(finished).toMatchObject({ code: 2, stderr: expect.stringContaining('for the keys of its vault') });
  expect(existsSync(join(found, 'ran'))).toBe(false);
});
