import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addEntry, removeEntry } from './client-files.ts';
import { type ClientTarget, clientTargets } from './clients.ts';

const gateway = { url: 'http://127.0.0.1:7117/mcp', stdio: ['node', 'tollgate.js', 'serve', '--stdio'] as const };

let folder: string;
let undo: string;
const target = (id: string): ClientTarget => {
  const found = clientTargets({ home: folder, config: join(folder, 'config') }).find((t) => t.id === id);
  if (found === undefined) throw new Error(`no client ${id}`);
  return found;
};
const add = (id: string): Promise<void> =>
  addEntry(target(id), target(id).entry({ ...gateway, stdio: [...gateway.stdio] }), undo);

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tollgate-connect-'));
  undo = join(folder, 'undo');
});

afterEach(() => rm(folder, { recursive: true, force: true }));

describe('connect and disconnect', () => {
  it('creates the file of a client that has none, and removes it again', async () => {
    await add('claude');
    const written = JSON.parse(await readFile(target('claude').file, 'utf8')) as unknown;
    expect(written).toEqual({ mcpServers: { tollgate: { type: 'http', url: gateway.url } } });
    expect((await stat(target('claude').file)).mode & 0o777).toBe(0o600);
    expect(await removeEntry(target('claude'), undo)).toBe(true);
    await expect(stat(target('claude').file)).rejects.toThrow('ENOENT');
  });

  it('keeps everything else in the file, what changed in between included, and restores an older entry', async () => {
    const file = target('claude').file;
    await writeFile(file, '{\n    "theme": "dark",\n    "mcpServers": { "tollgate": { "url": "http://old" } }\n}\n');
    await add('claude');
    await add('claude');
    const between = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
    await writeFile(file, JSON.stringify({ ...between, added: 1 }, undefined, 4));
    await removeEntry(target('claude'), undo);
    expect(JSON.parse(await readFile(file, 'utf8'))).toEqual({
      theme: 'dark',
      added: 1,
      mcpServers: { tollgate: { url: 'http://old' } },
    });
  });

  it('leaves a file with comments alone and shows the entry', async () => {
    await add('vscode');
    await writeFile(target('vscode').file, '{ // mine\n "servers": {} }');
    await expect(add('vscode')).rejects.toThrow(/by hand[\s\S]*7117/);
    expect(await readFile(target('vscode').file, 'utf8')).toContain('// mine');
  });

  it('writes a TOML table and takes exactly it back', async () => {
    await add('codex');
    const file = target('codex').file;
    await writeFile(file, `model = "x"\n${await readFile(file, 'utf8')}[other]\na = 1\n`);
    expect(await readFile(file, 'utf8')).toContain('[mcp_servers.tollgate]\nurl = "http://127.0.0.1:7117/mcp"');
    await removeEntry(target('codex'), undo);
    expect(await readFile(file, 'utf8')).toBe('model = "x"\n[other]\na = 1\n');
  });

  it('says so when there is nothing to take back', async () => {
    expect(await removeEntry(target('cursor'), undo)).toBe(false);
  });
});
