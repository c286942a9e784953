import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startFakeHttp } from '@tollgate/testkit/fake-http';
import { type RunningGateway, startGateway } from '@tollgate/testkit/gateway';
import { type TemporaryDirectory, temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { verifies } from '@tollgate/testkit/verifies';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CLIENTS, connectClient } from './clients.ts';
import { everythingServer, filesystemServer, memoryServer } from './servers.ts';

describe.each(CLIENTS)('%s without a gateway', (name) => {
  const modern = name === 'sdk-v2-auto' || name === 'inspector-modern';
  const kind = name === 'sdk-v1-sse' ? 'sse' : modern ? 'modern' : 'session';
  it('reads lists, answers, tool errors and errors as the harness says', async () => {
    await using server = await startFakeHttp(kind);
    await using client = await connectClient(name, server.url.replace(/\/sse$/, ''));
    expect(await client.listTools()).toContain('echo');
    expect(await client.callTool('echo', { text: 'hello' })).toMatchObject({ kind: 'answer', text: 'hello' });
    expect(await client.callTool('fail')).toMatchObject({ kind: 'tool-error', text: 'The tool failed' });
    expect((await client.callTool('no_such_tool')).kind).toBe('error');
  });
});

describe('unmodified clients and servers from npm, through one gateway', () => {
  let folder: TemporaryDirectory;
  let gateway: RunningGateway;
  beforeAll(async () => {
    folder = await temporaryDirectory('e2e');
    await writeFile(join(folder.path, 'hello.txt'), 'hello from a file');
    gateway = await startGateway({
      version: 1,
      endpoints: { '/mcp': { servers: '*' }, '/desk': { servers: ['files', 'memory'] } },
      servers: {
        everything: everythingServer(),
        files: filesystemServer(folder.path),
        memory: memoryServer(join(folder.path, 'memory.jsonl')),
      },
    });
  });
  afterAll(async () => {
    await gateway?.[Symbol.asyncDispose]();
    await folder?.[Symbol.asyncDispose]();
  });

  it.each(CLIENTS)('%s lists the tools of all servers and calls each server', async (name) => {
    verifies('R2-60', 'R1-06', 'R1-07', 'R1-27');
    await using client = await connectClient(name, gateway.url());
    const tools = await client.listTools();
    expect(tools).toEqual(
      expect.arrayContaining(['echo', 'get-sum', 'read_text_file', 'list_directory', 'read_graph']),
    );
    expect(new Set(tools).size).toBe(tools.length);

    expect(await client.callTool('echo', { message: 'through' })).toMatchObject({
      kind: 'answer',
      text: 'Echo: through',
    });
    expect((await client.callTool('get-sum', { a: 2, b: 3 })).text).toContain('5');
    const file = join(folder.path, 'hello.txt');
    expect(await client.callTool('read_text_file', { path: file })).toMatchObject({
      kind: 'answer',
      text: 'hello from a file',
    });
    const entity = { name: `from-${name}`, entityType: 'client', observations: ['was here'] };
    expect((await client.callTool('create_entities', { entities: [entity] })).kind).toBe('answer');
    expect((await client.callTool('read_graph')).text).toContain(`from-${name}`);
  });

  it.each(CLIENTS)('%s sees the error of a tool and of an unknown name', async (name) => {
    await using client = await connectClient(name, gateway.url());
    const outside = await client.callTool('read_text_file', { path: '/etc/hostname' });
    expect(outside.kind).toBe('tool-error');
    expect(outside.text).toContain('Access denied');
    expect((await client.callTool('no_such_tool')).kind).toBe('error');
  });

  it('serves a group of servers under a path of its own', async () => {
    verifies('R3-10');
    await using client = await connectClient('sdk-v2-auto', gateway.url('/desk'));
    const tools = await client.listTools();
    expect(tools).toEqual(expect.arrayContaining(['read_text_file', 'read_graph']));
    expect(tools).not.toContain('get-sum');
    expect((await client.callTool('get-sum', { a: 1, b: 1 })).kind).toBe('error');
  });

  it('serves one server alone at /s/<server>', async () => {
    await using client = await connectClient('sdk-v1', gateway.url('/s/memory'));
    const tools = await client.listTools();
    expect(tools).toContain('read_graph');
    expect(tools).not.toContain('echo');
  });
});
