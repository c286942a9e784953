import { globSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { awayFromTurn } from '@tollgate/testkit/calendar';
import { startChild } from '@tollgate/testkit/child';
import { startFakeHttp } from '@tollgate/testkit/fake-http';
import { startGateway, TOLLGATE_BIN } from '@tollgate/testkit/gateway';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { callTool } from '@tollgate/testkit/tool-call';
import { describe, expect, it } from 'vitest';

const ROOT = resolve(import.meta.dirname, '..');
const PAGES = [
  'README.md',
  ...readdirSync(join(ROOT, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
  ...globSync('examples/*/README.md', { cwd: ROOT }),
];

/** The code blocks of one language, with the page they stand on. */
function blocks(language: string): { page: string; code: string }[] {
  return PAGES.flatMap((page) => {
    const text = readFileSync(join(ROOT, page), 'utf8');
    const found = text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'));
    return [...found].map((match) => ({ page, code: match[1] ?? '' }));
  });
}

async function tollgate(args: readonly string[], env: Record<string, string> = {}, cwd = ROOT) {
  await using child = await startChild(process.execPath, [TOLLGATE_BIN, ...args], { cwd, env, input: '' });
  const { code } = await child.exited;
  return { code, stdout: child.stdout(), transcript: child.transcript() };
}

/** Every `tollgate …` and `npm …` command of the shell blocks, comments cut off. */
const commands = blocks('sh').flatMap(({ page, code }) =>
  code
    .split('\n')
    .flatMap((line) => line.replace(/\s#.*$/, '').split('&&'))
    .map((command) => ({ page, command: command.trim() }))
    .filter(({ command }) => command !== ''),
);

describe('the commands of the pages', () => {
  const subcommands = commands.flatMap(({ page, command }) => {
    const match = /^(?:npx )?tollgate(?: ([a-z]+))?/.exec(command);
    return match === null ? [] : [{ page, name: match[1] ?? 'serve' }];
  });
  it.each([
    ...new Map(subcommands.map((entry) => [entry.name, entry])).values(),
  ])('tollgate $name ($page) exists', async ({ name }) => {
    const { code, stdout, transcript } = await tollgate([name, '--help']);
    expect(code, transcript).toBe(0);
    expect(stdout).toContain(`tollgate ${name}`);
  });

  it('npm scripts that they name exist', () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>;
    };
    for (const { page, command } of commands) {
      const script = /^npm (?:run (\S+)|(start|test)\b)/.exec(command);
      if (script !== null) expect(scripts, `${page}: ${command}`).toHaveProperty([script[1] ?? script[2] ?? '']);
    }
  });

  it('programs that npx fetches are those the end-to-end tests use', () => {
    const { devDependencies } = JSON.parse(readFileSync(join(ROOT, 'e2e/package.json'), 'utf8')) as {
      devDependencies: Record<string, string>;
    };
    for (const { page, command } of commands) {
      const name = /^npx (?:-y )?(@[\w-]+\/[\w-]+)/.exec(command)?.[1];
      if (name !== undefined) expect(devDependencies, `${page}: ${command}`).toHaveProperty([name]);
    }
  });

  it('connect adds the gateway to a client, disconnect takes it back', async () => {
    await using home = await temporaryDirectory('home');
    const config = join(home.path, 'tollgate.yaml');
    await writeFile(config, 'version: 1\nservers: { a: { url: "http://127.0.0.1:9/mcp" } }\n');
    const file = join(home.path, '.cursor/mcp.json');
    const before = '{\n  "mcpServers": { "other": { "command": "x" } }\n}\n';
    await mkdir(join(home.path, '.cursor'));
    await writeFile(file, before);
    const env = { HOME: home.path, XDG_CONFIG_HOME: home.path, XDG_STATE_HOME: home.path };
    const connected = await tollgate(['connect', 'cursor'], env, home.path);
    expect(connected.code, connected.transcript).toBe(0);
    expect(readFileSync(file, 'utf8')).toContain('tollgate');
    expect(readFileSync(file, 'utf8')).toContain('other');
    const disconnected = await tollgate(['disconnect', 'cursor'], env, home.path);
    expect(disconnected.code, disconnected.transcript).toBe(0);
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(JSON.parse(before));
  });
});

describe('limits and budgets of README.md', () => {
  const page = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const section = page.slice(page.indexOf('## Limits and budgets'), page.indexOf('## As a library'));
  const config = /```yaml\n(.*?)```/s.exec(section)?.[1] ?? '';

  it('what an agent reads is what stands there, and every command does what it says', async () => {
    await awayFromTurn('day');
    await using server = await startFakeHttp('modern');
    await using gateway = await startGateway(
      config.replace('https://mcp.example/mcp', server.url).replace(/^version: 1$/m, '$&\nlisten: 127.0.0.1:0'),
    );
    const answers = [];
    for (let i = 0; i < 5; i++) answers.push(await callTool(gateway.url(), 'echo', { text: 'x' }));
    expect(answers.map(({ error }) => error?.code)).toEqual([undefined, undefined, undefined, undefined, 402]);
    const shown = /```text\n(.*?)\n```/s.exec(section)?.[1] ?? '';
    const timeless = (text: string) => text.replace(/in [^.]+\. Do/, 'in …. Do').replace(/\[tg-\w+\]/, '[tg-…]');
    expect(timeless(answers[4]!.error!.message)).toBe(timeless(shown));

    await writeFile(
      join(gateway.folder, 'cases.yaml'),
      'cases:\n  - { name: four, when: [{ tool: search/echo, times: 5 }], then: [{ allowed: 4 }] }\n',
    );
    const outputs = new Map<string, string>();
    for (const line of [...section.matchAll(/^npx tollgate (.+?)(?:\s+#.*)?$/gm)].map((match) => match[1]!)) {
      const args = [...line.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map((word) => word[1] ?? word[2] ?? word[3] ?? '');
      const { code, stdout, transcript } = await tollgate(args, {}, gateway.folder);
      expect(code, `${line}\n${transcript}`).toBe(0);
      outputs.set(args.slice(0, args[0] === 'budget' ? 2 : 1).join(' '), stdout);
    }
    expect([...outputs.keys()]).toEqual([
      'budget show',
      'budget grant',
      'budget reset',
      'stop',
      'resume',
      'why',
      'simulate',
      'test',
      'op',
    ]);
    expect(outputs.get('budget show')).toContain('spend: 1.00 of 1.00 USD used');
    expect(outputs.get('budget grant')).toContain('Granted 5 USD under spend to anonymous');
    expect(outputs.get('resume')).toContain('Resumed tool search/* (incident 7)');
    expect(outputs.get('why')).toContain('daily_cost_exceeded');
    expect(outputs.get('simulate')).toContain('No verdict changes.');
    expect(outputs.get('test')).toContain('1 of 1 cases passed.');
    expect(outputs.get('op')).toContain('"rate_limiter_status":"operational"');
    // Granted and reset: there is room again.
    expect((await callTool(gateway.url(), 'echo', { text: 'x' })).result).toBeDefined();
  });
});

describe('the configurations of the pages', () => {
  const whole = blocks('yaml').filter(({ code }) => /^version: 1$/m.test(code));
  it('there are some', () => expect(whole.length).toBeGreaterThan(0));
  it.each(whole.map((block, index) => ({ ...block, index })))('$page, number $index, is valid', async ({ code }) => {
    await using folder = await temporaryDirectory('readme');
    await writeFile(join(folder.path, 'tollgate.yaml'), code);
    const variables = [...code.matchAll(/\$\{env:(\w+)/g)].map((match) => [
      match[1] ?? '',
      'a-value-that-is-long-enough-for-a-token',
    ]);
    const { code: exit, transcript } = await tollgate(
      ['validate', join(folder.path, 'tollgate.yaml')],
      Object.fromEntries(variables),
    );
    expect(exit, transcript).toBe(0);
  });
});
