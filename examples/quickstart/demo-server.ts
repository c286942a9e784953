/**
 * A small MCP server for the quickstart: a note board with tools, a resource and a prompt. It speaks both protocol
 * eras over stdio.
 */
import { McpServer, ResourceTemplate } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { z } from 'zod';

const notes = new Map<string, string>([['welcome', 'Tollgate is running. Add a note with the tool add_note.']]);

serveStdio(() => {
  const server = new McpServer({ name: 'demo-notes', version: '1.0.0' });
  server.registerTool(
    'add_note',
    {
      title: 'Add a note',
      description: 'Keeps a short text under a title. A note of the same title is replaced.',
      inputSchema: z.object({ title: z.string().min(1).max(100), text: z.string().max(2000) }),
    },
    ({ title, text }) => {
      notes.set(title, text);
      return { content: [{ type: 'text', text: `Noted "${title}". There are ${notes.size} notes.` }] };
    },
  );
  server.registerTool(
    'list_notes',
    { title: 'List notes', description: 'Gives the titles of all notes.', inputSchema: z.object({}) },
    () => ({ content: [{ type: 'text', text: [...notes.keys()].join('\n') }] }),
  );
  server.registerTool(
    'add_numbers',
    {
      title: 'Add numbers',
      description: 'Adds two numbers.',
      inputSchema: z.object({ a: z.number(), b: z.number() }),
    },
    ({ a, b }) => ({ content: [{ type: 'text', text: String(a + b) }] }),
  );
  server.registerResource(
    'note',
    new ResourceTemplate('note://{title}', { list: undefined }),
    { title: 'A note', mimeType: 'text/plain' },
    (uri, { title }) => ({
      contents: [{ uri: uri.href, mimeType: 'text/plain', text: notes.get(String(title)) ?? 'There is no such note.' }],
    }),
  );
  server.registerPrompt(
    'summarise_notes',
    { title: 'Summarise the notes', description: 'Asks for a summary of all notes.' },
    () => ({
      messages: [
        {
          role: 'user',
          content: {
            type: 'text',
            text: `Summarise these notes:\n${[...notes].map(([title, text]) => `${title}: ${text}`).join('\n')}`,
          },
        },
      ],
    }),
  );
  return server;
});
