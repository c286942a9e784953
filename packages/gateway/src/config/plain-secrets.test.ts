import { expect, it } from 'vitest';
import { findPlainSecrets } from './plain-secrets.ts';

const SECRET = `ghp_${'a1'.repeat(18)}`;
const failure = (text: string): string => {
  try {
    findPlainSecrets(text, '/x/.mcp.json');
    return '';
  } catch (error) {
    return (error as Error).message;
  }
};

it('says where a file cannot be read and quotes none of it', () => {
  const headers = `"headers": { "Authorization": "Bearer ${SECRET}" }`;
  for (const text of [
    `{ "mcpServers": { "a": { "url": "https://h", ${headers} ]\n`,
    `{ "mcpServers": { "a": { ${headers}, ${headers} } } }`,
    `"${SECRET}" "${SECRET}"`,
    `{ "mcpServers": { "a": { "env": { "K": &x "${SECRET}", "L": *x } } } }`,
    `{ "mcpServers": { "a": { "env": { "K": !t "${SECRET}" } } } }`,
    `{ "mcpServers": { "a": { "env": { ? "${SECRET}" } } `,
  ]) {
    expect(failure(text), text).toContain('.mcp.json');
    expect(failure(text)).not.toContain(SECRET.slice(0, 12));
  }
});

it('keeps each for the server as it is served, not as the file calls it', () => {
  const server = { url: 'https://h', headers: { Authorization: `Bearer ${SECRET}` } };
  const text = JSON.stringify({ mcpServers: { 'git hub': server, 'git-hub': server, '7': server } });
  const { secrets } = findPlainSecrets(text, '/x/.mcp.json');
  expect(secrets.map(({ server: written, served }) => [written, served])).toEqual([
    ['7', 'server-7'],
    ['git hub', 'git-hub'],
    ['git-hub', 'git-hub-2'],
  ]);
});
