import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startChild } from '@tollgate/testkit/child';
import { startFakeHttp } from '@tollgate/testkit/fake-http';
import { startGateway, TOLLGATE_BIN } from '@tollgate/testkit/gateway';
import { modernBody, modernHeaders } from '@tollgate/testkit/modern-request';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';

const SECRET = 'hunter2-in-the-arguments';

function configuration(upstream: string, limit: string) {
  return {
    version: 1,
    servers: { upstream: { url: upstream } },
    tools: { 'upstream/echo': { price: { each: '0.01 USD' } } },
    limits: {
      calls: { on: 'tools/call', by: 'principal', limit },
      spend: { by: 'principal', limit: '20 USD/day' },
      long: { by: 'principal', limit: '1000/h', when: 'size(args.text) > 5' },
    },
  };
}

async function tollgate(folder: string, ...args: string[]) {
  await using child = await startChild(process.execPath, [TOLLGATE_BIN, ...args], { cwd: folder, input: '' });
  const { code } = await child.exited;
  return { code, stdout: child.stdout(), stderr: child.stderr() };
}

/** Calls echo; the id of the decision when it was refused. */
async function callEcho(url: string): Promise<string | undefined> {
  const params = { name: 'echo', arguments: { text: SECRET } };
  const response = await fetch(url, {
    method: 'POST',
    headers: modernHeaders('tools/call', params),
    body: modernBody(1, 'tools/call', params),
  });
  return /\[(tg-[a-z0-9]+)\]/.exec(await response.text())?.[1];
}

describe('decisions on the command line', () => {
  it('explains a refusal by its id, replays records against a changed limit, and tests cases', async () => {
    // The denial itself is recorded: nobody has to see the request to know of it.
    verifies('R3-28');
    await using server = await startFakeHttp('modern');
    await using folder = await temporaryDirectory('decisions');
    const run = (...args: string[]) => tollgate(folder.path, ...args);
    const changed = join(folder.path, 'changed.yaml');
    let id: string | undefined;
    {
      await using gateway = await startGateway(configuration(server.url, '2/min'), { folder: folder.path });
      const ids: (string | undefined)[] = [];
      for (let i = 0; i < 4; i++) ids.push(await callEcho(gateway.url()));
      expect(ids.slice(0, 2)).toEqual([undefined, undefined]);
      id = ids[2];
      expect(id).toBeDefined();

      const told = await run('why', id!);
      expect(told).toMatchObject({ code: 0, stderr: '' });
      expect(told.stdout).toMatch(/was refused on .*: rate_limited\./);
      expect(told.stdout).toMatch(/who +anonymous/);
      expect(told.stdout).toMatch(/what +tools\/call upstream\/echo with arguments of \d+ bytes, keys text, #/);
      expect(told.stdout).toMatch(/calls: in the way \(rate_limited\); takes 1 call; 2 calls of 2 calls used/);
      expect(told.stdout).toContain('size(args.text) > 5 = true');
      expect(told.stdout).toMatch(/passes +\d+ s later/);
      const record = await run('why', `[${id}]`, '--json');
      expect(JSON.parse(record.stdout)).toMatchObject({ v: 1, id, verdict: 'refused', price: 'fixed' });
      expect(record.stdout).not.toContain(SECRET);

      await writeFile(changed, JSON.stringify(configuration(server.url, '3/min')));
      const looser = await run('simulate', changed);
      expect(looser).toMatchObject({ code: 3, stderr: '' });
      expect(looser.stdout).toContain('4 recorded decisions replayed');
      expect(looser.stdout).toContain(
        '0 calls would have been refused, 1 admitted that were refused: 2 admitted before, 3 after.',
      );
      expect(looser.stdout).toContain('Cost: 0.02 USD before, 0.03 after (+0.01).');
    }

    // The gateway has ended: its records are in the storage.
    const after = await run('why', id!);
    expect(after.stdout).toContain(`${id} was refused`);
    const exported = await run('why', '--last', '100', '--json');
    expect(exported.stdout.trim().split('\n')).toHaveLength(4);
    expect(exported.stdout).not.toContain(SECRET);
    const records = join(folder.path, 'records.jsonl');
    await writeFile(records, exported.stdout);

    const same = await run('simulate', 'tollgate.yaml');
    expect(same).toMatchObject({ code: 0 });
    expect(same.stdout).toContain('No verdict changes.');
    const fromFile = await run('simulate', changed, '--records', records, '--json');
    expect(fromFile.code).toBe(3);
    expect(JSON.parse(fromFile.stdout)).toMatchObject({
      comparedWith: 'recorded verdicts',
      nowAdmitted: 1,
      undecidable: 0,
    });

    const cases = join(folder.path, 'cases.yaml');
    const passing =
      'cases:\n  - name: two a minute\n    when: [{ tool: upstream/echo, args: { text: a }, times: 3 }]\n    then: [{ allowed: 2, charged: 0.02 USD }]\n';
    await writeFile(cases, passing);
    expect(await run('test', cases)).toMatchObject({ code: 0, stdout: 'pass  two a minute\n1 of 1 cases passed.\n' });
    await writeFile(cases, passing.replace('allowed: 2', 'allowed: 3'));
    const failed = await run('test', cases);
    expect(failed.code).toBe(1);
    expect(failed.stdout).toContain(
      'FAIL  two a minute\n      call 1 (upstream/echo): expected 3 of 3 to be allowed, 2 were',
    );
  });

  it('says what is wrong with its input, and exits with 2', async () => {
    await using folder = await temporaryDirectory('decisions');
    const run = (...args: string[]) => tollgate(folder.path, ...args);
    const config = join(folder.path, 'tollgate.yaml');
    await writeFile(config, JSON.stringify(configuration('http://127.0.0.1:9/mcp', '2/min')));
    expect((await run('why', 'tg-unknown')).stderr).toContain('There is no record of tg-unknown');
    expect((await run('why', '--last', '0')).code).toBe(2);
    const bad = join(folder.path, 'bad.jsonl');
    await writeFile(bad, '{"v":9}\nnonsense\n');
    const unreadable = await run('simulate', config, '--records', bad);
    expect(unreadable.code).toBe(2);
    expect(unreadable.stderr).toMatch(/bad\.jsonl:1: the record has version 9.*\n.*bad\.jsonl:2: the line is not JSON/);
    expect(await run('simulate', config)).toMatchObject({ code: 2, stdout: '' });
    const cases = join(folder.path, 'cases.yaml');
    await writeFile(cases, 'cases:\n  - name: x\n    when: [{ tool: upstraem/echo }]\n    then: [{}]\n');
    const mistaken = await run('test', cases);
    expect(mistaken.code).toBe(2);
    expect(mistaken.stderr).toMatch(/cases\.yaml:3:\d+ .*There is no server "upstraem".*Did you mean "upstream"\?/);
  });
});
