/** A demo server whose tools cost money elsewhere; here they only pretend to search. */
import { McpServer } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { z } from 'zod';

serveStdio(() => {
  const server = new McpServer({ name: 'search', version: '1.0.0' });
  server.registerTool(
    'web_search',
    { description: 'Searches the web.', inputSchema: z.object({ query: z.string() }) },
    ({ query }) => ({ content: [{ type: 'text', text: `Three pages about ${query}.` }] }),
  );
  server.registerTool(
    'summarise',
    { description: 'Summarises pages.', inputSchema: z.object({ pages: z.array(z.string()) }) },
    ({ pages }) => ({ content: [{ type: 'text', text: `In short: ${pages.length} pages.` }] }),
  );
  return server;
});
