/** Who closes a gateway in the middle of something is left with nothing that runs or listens. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { waitUntil } from '@tollgate/testkit/wait';
import { describe, expect, it } from 'vitest';
import { createGateway } from './create-gateway.ts';

const SERVERS = { s: { url: 'http://127.0.0.1:9/mcp' } };
const LISTEN = '127.0.0.1:0';

/** A server that starts and never answers. */
function mute(folder: string) {
  const [script, file] = [join(folder, 'mute.mjs'), join(folder, 'pid')];
  const told = `import { renameSync, writeFileSync } from 'node:fs';
    writeFileSync(${JSON.stringify(`${file}.new`)}, String(process.pid));
    renameSync(${JSON.stringify(`${file}.new`)}, ${JSON.stringify(file)});
    process.stdin.resume();`;
  writeFileSync(script, told);
  const pid = (): number => Number(readFileSync(file, 'utf8'));
  const started = waitUntil('the server runs', () => {
    try {
      return pid() > 0;
    } catch {
      return false;
    }
  });
  return { started, pid, options: { command: process.execPath, args: [script] } };
}

function runs(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

describe('a gateway that is closed', () => {
  it('while another configuration is applied stops the servers of that, without waiting for their lists', async () => {
    await using folder = await temporaryDirectory('closed-in-apply');
    await using gateway = await createGateway({ listen: LISTEN, servers: SERVERS });
    await gateway.listen();
    const server = mute(folder.path);
    const refused = gateway.apply({
      listen: LISTEN,
      servers: { ...SERVERS, mute: server.options },
      endpoints: { '/mcp': { servers: '*', listTimeout: '10m' } },
    });
    const [told] = await Promise.all([
      refused.catch((error: unknown) => error),
      server.started.then(() => gateway.close()),
    ]);
    expect(told).toMatchObject({ code: 'shutting_down' });
    expect(runs(server.pid())).toBe(false);
  });

  it('after a reload stops the servers that were taken out as well', async () => {
    await using folder = await temporaryDirectory('closed-after-reload');
    const server = mute(folder.path);
    await using gateway = await createGateway({
      listen: LISTEN,
      servers: { ...SERVERS, mute: server.options },
      endpoints: { '/mcp': { servers: '*', listTimeout: '100ms' } },
    });
    await gateway.listen();
    await server.started;
    await gateway.apply({ listen: LISTEN, servers: SERVERS });
    await gateway.close();
    expect(runs(server.pid())).toBe(false);
  });

  it('while it begins to listen opens no port any more', async () => {
    const gateway = await createGateway({ listen: LISTEN, servers: SERVERS });
    const [told] = await Promise.allSettled([gateway.listen(), gateway.close()]);
    expect(told).toMatchObject({ status: 'rejected', reason: { code: 'shutting_down' } });
    await expect(gateway.listen()).rejects.toMatchObject({ code: 'shutting_down' });
  });
});
