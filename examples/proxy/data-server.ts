/** An MCP server with a few people, over stdio: two tools and a resource for each. */
import { McpServer, ResourceTemplate } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { z } from 'zod';

interface User {
  readonly id: string;
  readonly name: string;
  readonly team: string;
  readonly orders: number;
}

const USERS: readonly User[] = [
  { id: 'u1', name: 'Ada Lovelace', team: 'engines', orders: 12 },
  { id: 'u2', name: 'Grace Hopper', team: 'compilers', orders: 7 },
  { id: 'u3', name: 'Katherine Johnson', team: 'orbits', orders: 21 },
];

const text = (value: unknown) => ({ content: [{ type: 'text' as const, text: JSON.stringify(value) }] });

serveStdio(() => {
  const server = new McpServer({ name: 'data', version: '1.0.0' });
  server.registerTool(
    'search_users',
    {
      title: 'Search users',
      description: 'Users whose name or team contains the text.',
      inputSchema: z.object({ query: z.string() }),
    },
    ({ query }) => {
      const wanted = query.toLowerCase();
      return text(USERS.filter(({ name, team }) => `${name} ${team}`.toLowerCase().includes(wanted)));
    },
  );
  server.registerTool(
    'get_user_stats',
    {
      title: 'User statistics',
      description: 'How much one user ordered.',
      inputSchema: z.object({ id: z.string() }),
    },
    ({ id }) => {
      const user = USERS.find((candidate) => candidate.id === id);
      return user === undefined ? { ...text(`There is no user ${id}`), isError: true } : text({ orders: user.orders });
    },
  );
  server.registerResource(
    'user',
    new ResourceTemplate('data://users/{id}', {
      list: () => ({ resources: USERS.map(({ id, name }) => ({ uri: `data://users/${id}`, name })) }),
    }),
    { title: 'A user', mimeType: 'application/json' },
    (uri, { id }) => ({
      contents: [
        {
          uri: uri.href,
          mimeType: 'application/json',
          text: JSON.stringify(USERS.find((candidate) => candidate.id === id) ?? null),
        },
      ],
    }),
  );
  return server;
});
