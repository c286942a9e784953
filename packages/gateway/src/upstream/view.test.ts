import { describe, expect, it } from 'vitest';
import { targetText } from './view.ts';

const stdio = (...args: string[]) => targetText({ kind: 'stdio', command: 'npx', args, env: {}, cwd: '/' });

describe('target of a server', () => {
  it.each([
    [['-y', 'server', '/home/ada'], 'npx -y server /home/ada'],
    [['--api-key', 'abc', '--port', '1'], 'npx --api-key *** --port 1'],
    [['--token=abc', 'GITHUB_TOKEN=abc'], 'npx --token=*** GITHUB_TOKEN=***'],
    [['--verbose-auth', '--port', '1'], 'npx --verbose-auth --port 1'],
    [['ghp_0123456789abcdef'], 'npx ***'],
    [['postgres://u:p@db/x?sslkey=k'], 'npx postgres://***:***@db/x?sslkey=***'],
  ])('masks credentials in %j', (args, text) => {
    expect(stdio(...args)).toBe(text);
  });

  it('masks user, password and query of a URL', () => {
    const url = new URL('https://u:p@mcp.example/mcp?key=a&key=b&x=1#f');
    expect(targetText({ kind: 'http', url, headers: { authorization: 'Bearer x' } })).toBe(
      'https://***:***@mcp.example/mcp?key=***&x=***',
    );
  });
});
