/** An MCP server with what only administrators should do, over stdio. */
import { McpServer } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { z } from 'zod';

const started = Date.now();
let maintenance = false;

serveStdio(() => {
  const server = new McpServer({ name: 'admin', version: '1.0.0' });
  server.registerTool(
    'admin_status',
    { title: 'Status', description: 'Uptime and maintenance mode.', inputSchema: z.object({}) },
    () => ({ content: [{ type: 'text', text: JSON.stringify({ upForMs: Date.now() - started, maintenance }) }] }),
  );
  server.registerTool(
    'admin_maintenance',
    { title: 'Maintenance', description: 'Switches maintenance mode.', inputSchema: z.object({ on: z.boolean() }) },
    ({ on }) => {
      maintenance = on;
      return { content: [{ type: 'text', text: `Maintenance is ${on ? 'on' : 'off'}.` }] };
    },
  );
  return server;
});
