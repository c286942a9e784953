import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { processTable } from '@tollgate/testkit/process-table';
import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil } from '@tollgate/testkit/wait';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { Lifetime } from '../core/lifetime.ts';
import { fixture, rememberingLog } from './fixtures/rig.ts';
import type { LinkListener } from './link.ts';
import { openStdioLink, type StdioLink } from './link-stdio.ts';
import { Throttle } from './throttle.ts';

const open: StdioLink[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((link) => link.close()));
});

interface Heard extends LinkListener {
  readonly messages: string[];
  readonly failed: { id: string; error: TollgateError }[];
  readonly closed: TollgateError[];
}

function hearing(): Heard {
  const heard: Heard = {
    messages: [],
    failed: [],
    closed: [],
    onMessage: (bytes) => heard.messages.push(bytes.toString()),
    onRequestFailed: (id, error) => heard.failed.push({ id, error }),
    onPause: () => {},
    onClose: (error) => heard.closed.push(error),
  };
  return heard;
}

async function link(
  heard: Heard,
  options: {
    command?: string;
    args?: readonly string[];
    env?: Record<string, string>;
    cwd?: string;
    environment?: Record<string, string>;
    grace?: number;
    log?: ReturnType<typeof rememberingLog>;
    secrets?: readonly string[];
  } = {},
): Promise<StdioLink> {
  const { command = process.execPath, args = [fixture('legacy-server.mjs')], env = {}, cwd = process.cwd() } = options;
  const opened = await openStdioLink(
    {
      name: 'fix',
      target: { kind: 'stdio', command, args, env, cwd },
      maxMessage: 1_000_000,
      secrets: options.secrets,
    },
    {
      log: options.log ?? rememberingLog(),
      grace: options.grace ?? 200,
      environment: { ...process.env, ...options.environment },
    },
  )(heard);
  open.push(opened);
  return opened;
}

function call(name: string, id = 1): Buffer {
  return Buffer.from(`{"jsonrpc":"2.0",\n"id":${id},\r\n"method":"tools/call","params":{"name":"${name}"}}`);
}

/** Pids of the members of a process group that run (zombies are not counted). */
function running(pid: number): boolean {
  return processTable().some((entry) => entry.pid === pid);
}

describe('stdio link', () => {
  it('frames messages by lines, whatever whitespace they came with', async () => {
    verifies('R1-27');
    const heard = hearing();
    const opened = await link(heard);
    opened.sendRequest(call('pid'), '1', new Lifetime());
    await waitUntil('the answer', () => heard.messages.length === 1);
    expect(JSON.parse(heard.messages[0]!)).toMatchObject({
      id: 1,
      result: { content: [{ text: String(opened.pid) }] },
    });
  });

  it('passes a minimal environment and what was declared, nothing else', async () => {
    const heard = hearing();
    const opened = await link(heard, {
      env: { DECLARED: 'yes', NODE_OPTIONS: '--no-warnings' },
      environment: { GITHUB_TOKEN: 'ghp_secret', LD_PRELOAD: '', LD_LIBRARY_PATH: '/x', LC_ALL: 'C' },
    });
    opened.sendRequest(call('env'), '1', new Lifetime());
    await waitUntil('the answer', () => heard.messages.length === 1);
    const answer = JSON.parse(heard.messages[0]!) as { result: { content: { text: string }[] } };
    const env = JSON.parse(answer.result.content[0]!.text) as Record<string, string>;
    expect(env).toMatchObject({
      DECLARED: 'yes',
      LC_ALL: 'C',
      PATH: process.env['PATH'],
      NODE_OPTIONS: '--no-warnings',
    });
    expect(Object.keys(env)).not.toEqual(expect.arrayContaining(['GITHUB_TOKEN']));
    expect(env['LD_PRELOAD']).toBeUndefined();
    expect(env['LD_LIBRARY_PATH']).toBeUndefined();
  });

  it('says which command is missing and how to fix it', async () => {
    const missing = link(hearing(), { command: 'no-such-command-here' });
    await expect(missing).rejects.toMatchObject({ code: 'server_unavailable', executed: 'no' });
    await expect(missing).rejects.toThrow(/"no-such-command-here" is not on the PATH.*servers\.fix\.command/);
    await expect(link(hearing(), { cwd: '/no/such/folder' })).rejects.toThrow(
      /folder \/no\/such\/folder does not exist/,
    );
    await expect(link(hearing(), { command: fixture('legacy-server.mjs') })).rejects.toThrow(/not executable/);
    await expect(link(hearing(), { command: 'a\0b' })).rejects.toBeInstanceOf(TollgateError);
  });

  it('names a variable that is set in the shell but not passed when the child dies for want of it', async () => {
    const heard = hearing();
    await link(heard, { env: { NEEDS: 'GITHUB_TOKEN' }, environment: { GITHUB_TOKEN: 'ghp_secret' } });
    await waitUntil('the end', () => heard.closed.length === 1);
    const { message, code } = heard.closed[0]!;
    expect(code).toBe('server_unavailable');
    expect(message).toContain('exited with code 1 before it answered');
    expect(message).toContain('On stderr: Error: GITHUB_TOKEN environment variable is required');
    expect(message).toContain(
      `GITHUB_TOKEN is set in your shell but not passed: add env: { GITHUB_TOKEN: "\${env:GITHUB_TOKEN}" }`,
    );
    expect(message).not.toContain('ghp_secret');
  });

  it('names a variable that is set nowhere, and one that an argument names literally', async () => {
    const heard = hearing();
    await link(heard, { env: { NEEDS: 'ACME_API_KEY' } });
    await waitUntil('the end', () => heard.closed.length === 1);
    expect(heard.closed[0]!.message).toContain('ACME_API_KEY is not set: export it and add env');

    const literal = hearing();
    await link(literal, { args: ['-e', 'process.exit(1)', '--', '--token=$MY_TOKEN'], environment: { MY_TOKEN: 'x' } });
    await waitUntil('the end', () => literal.closed.length === 1);
    expect(literal.closed[0]!.message).toContain('MY_TOKEN is set in your shell but not passed');
  });

  it('counts and logs noise on stdout instead of failing', async () => {
    const log = rememberingLog();
    const heard = hearing();
    const opened = await link(heard, { env: { BANNER: '1' }, log });
    opened.sendRequest(call('noise'), '1', new Lifetime());
    await waitUntil('the answer', () => heard.messages.some((text) => text.includes('after noise')));
    expect(opened.noise).toBe(3);
    expect(log.lines.filter((line) => line.fields['stream'] === 'stdout').map((line) => line.fields['line'])).toContain(
      'Legacy server running on stdio',
    );
  });

  it('bounds what a flood on stderr costs, masks declared secrets and strips terminal escapes', async () => {
    const log = rememberingLog();
    const heard = hearing();
    const opened = await link(heard, { log, env: { API_TOKEN: 'secret-value-1234' } });
    opened.sendRequest(call('stderrFlood'), '1', new Lifetime());
    await waitUntil('the long line', () => opened.stderr.at(-1)?.includes('100000 bytes'));
    const logged = log.lines.filter((line) => line.fields['stream'] === 'stderr');
    expect(logged.length).toBeLessThan(1000);
    expect(opened.stderr).toHaveLength(20);
    expect(opened.stderr.at(-2)).toBe('line 4999 red ***');
    expect(JSON.stringify(log.lines)).not.toContain('secret-value-1234');
  });

  it('masks declared secrets wherever the child repeats them: on stdout, from its arguments, at the cut of a line', async () => {
    const log = rememberingLog();
    const secrets = ['secret-of-env-1', 'secret-of-flag-2', 'secret-of-option-3', 'secret-of-vault-4'];
    const code = `const all = process.env.API_TOKEN + ' ' + process.env.DSN + ' ' + process.argv.slice(1).join(' ');
      console.log('started with ' + all); console.error('bad option: ' + all);
      console.error('x'.repeat(992) + process.env.API_TOKEN); process.exit(1)`;
    const heard = hearing();
    await link(heard, {
      args: ['-e', code, '--', '--api-key', secrets[1]!, `--token=${secrets[2]}`, '--port', '8080-not-secret'],
      env: { API_TOKEN: secrets[0]!, DSN: `db://${secrets[3]}@h` },
      secrets: [secrets[3]!],
      log,
    });
    await waitUntil('the end', () => heard.closed.length > 0);
    const told = JSON.stringify(log.lines) + heard.closed[0]!.message;
    for (const secret of secrets) expect(told).not.toContain(secret);
    expect(told).not.toContain('xsecret');
    expect(told).toContain('8080-not-secret');
    expect(told).toContain('started with ***');
  });

  it('counts what the child writes against what it may, noise tenfold', async () => {
    const spend = vi.spyOn(Throttle.prototype, 'spend');
    try {
      const code = `console.log('noise'); console.log('{"a":1}'); console.error('twelve bytes')`;
      await link(hearing(), { args: ['-e', `${code}; process.stdin.resume()`] });
      const spent = (): number => spend.mock.calls.reduce((sum, [units]) => sum + units, 0);
      await waitUntil('all that was written', () => spent() >= 10 + 1 + 13);
      expect(spent()).toBe(10 + 1 + 13);
    } finally {
      spend.mockRestore();
    }
  });

  it('fails the one request whose answer is too long', async () => {
    const heard = hearing();
    const opened = await link(heard);
    opened.sendRequest(call('huge', 5), '5', new Lifetime());
    await waitUntil('the failure', () => heard.failed.length === 1);
    expect(heard.failed[0]).toMatchObject({
      id: '5',
      error: { code: 'server_response_too_large', executed: 'unknown' },
    });
    opened.sendRequest(call('pid', 6), '6', new Lifetime());
    await waitUntil('life after it', () => heard.messages.length === 1);
  });

  it('refuses requests when the child does not read its input', async () => {
    const heard = hearing();
    const opened = await link(heard, { args: ['-e', 'setInterval(()=>{},1000)'] });
    const big = Buffer.from(`{"x":"${'x'.repeat(4_000_000)}"}`);
    for (let id = 1; id <= 8; id++) opened.sendRequest(big, String(id), new Lifetime());
    expect(heard.failed.length).toBeGreaterThan(0);
    expect(heard.failed[0]!.error).toMatchObject({ code: 'server_busy', executed: 'no' });
  });

  it('closes politely: a child that leaves at the end of its input gets no signal', async () => {
    const heard = hearing();
    const opened = await link(heard, { grace: 5000 });
    await opened.close();
    await waitUntil('the end', () => heard.closed.length === 1);
    expect(heard.closed[0]!.message).toContain('exited with code 0');
    expect(running(opened.pid!)).toBe(false);
  });

  it('kills a stubborn child and the grandchild it forked', async () => {
    const heard = hearing();
    const opened = await link(heard, { env: { STUBBORN: '1' }, grace: 100 });
    opened.sendRequest(call('fork'), '1', new Lifetime());
    await waitUntil('the answer', () => heard.messages.length === 1);
    const grandchild = Number(/"text":"(\d+)"/.exec(heard.messages[0]!)![1]);
    expect(running(grandchild)).toBe(true);
    await opened.close();
    expect(running(opened.pid!)).toBe(false);
    // It was killed with its group, and nobody here hears when it is gone.
    await waitUntil('the end of the grandchild', () => !running(grandchild));
  });

  it('ends the rest of the group when the child dies by itself', async () => {
    const heard = hearing();
    const opened = await link(heard, { grace: 100 });
    opened.sendRequest(call('fork'), '1', new Lifetime());
    await waitUntil('the answer', () => heard.messages.length === 1);
    const grandchild = Number(/"text":"(\d+)"/.exec(heard.messages[0]!)![1]);
    opened.sendRequest(call('die', 2), '2', new Lifetime());
    await waitUntil('the end', () => heard.closed.length === 1);
    expect(heard.closed[0]).toMatchObject({ code: 'server_disconnected' });
    expect(heard.closed[0]!.message).toBe('Server "fix" exited with code 3. On stderr: fatal: told to die');
    await waitUntil('the grandchild to end', () => !running(grandchild));
    await sleep(0);
    expect(heard.closed).toHaveLength(1);
    await expect(opened.send(Buffer.from('{}'))).rejects.toMatchObject({ code: 'server_unavailable' });
  });

  it.each([
    ['mute', 'closed its output'],
    ['deaf', 'stopped reading its input'],
  ])('ends a child that goes %s', async (how, why) => {
    const heard = hearing();
    const opened = await link(heard, { env: { STUBBORN: '1' }, grace: 50 });
    opened.sendRequest(call(how), '1', new Lifetime());
    // The broken pipe shows at the next write.
    await waitUntil('the end', () => {
      if (heard.closed.length === 0) opened.send(call('pid', 2)).catch(() => {});
      return heard.closed.length === 1;
    });
    expect(heard.closed[0]!.message).toContain(why);
    await waitUntil('the exit', () => !running(opened.pid!));
  });

  /** Starts a gateway-like process; gives the pids of its child and grandchild. */
  async function parent(
    mode: 'stubborn' | 'polite',
  ): Promise<{ child: number; grandchild: number; process: ChildProcess }> {
    const started = spawn(process.execPath, [fixture('leaving-parent.ts'), mode], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const [line] = (await once(started.stdout, 'data')) as [Buffer];
    const [child = 0, grandchild = 0] = line.toString().split(' ').map(Number);
    expect([running(child), running(grandchild)]).toEqual([true, true]);
    return { child, grandchild, process: started };
  }

  it('leaves no process behind when the gateway exits, however stubborn they are', async () => {
    const { child, grandchild, process: gateway } = await parent('stubborn');
    gateway.stdin!.write('exit\n');
    await once(gateway, 'exit');
    await waitUntil('their end', () => !running(child) && !running(grandchild));
  });

  it('lets the child see the end of its input when the gateway is killed', async () => {
    const { child, grandchild, process: gateway } = await parent('polite');
    gateway.kill('SIGKILL');
    await waitUntil('its end', () => !running(child));
    // Nobody is left who could end what an ended child forked; this test cleans up after itself.
    process.kill(grandchild, 'SIGKILL');
  });
});
