/** An MCP server that calculates, over stdio. */
import { McpServer } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { z } from 'zod';

const OPERATIONS = {
  add: { title: 'Add', run: (a: number, b: number) => a + b },
  subtract: { title: 'Subtract', run: (a: number, b: number) => a - b },
  multiply: { title: 'Multiply', run: (a: number, b: number) => a * b },
  divide: { title: 'Divide', run: (a: number, b: number) => a / b },
  power: { title: 'Raise to a power', run: (a: number, b: number) => a ** b },
} as const;

type Operation = keyof typeof OPERATIONS;

function answer(operation: Operation, a: number, b: number) {
  const value = OPERATIONS[operation].run(a, b);
  const text = Number.isFinite(value) ? String(value) : `${operation} of ${a} and ${b} has no finite result`;
  return { content: [{ type: 'text' as const, text }], isError: !Number.isFinite(value) };
}

serveStdio(() => {
  const server = new McpServer({ name: 'math', version: '1.0.0' });
  const names = Object.keys(OPERATIONS) as Operation[];
  const two = { a: z.number(), b: z.number() };
  server.registerTool(
    'calculate',
    {
      title: 'Calculate',
      description: 'One operation on two numbers.',
      inputSchema: z.object({ operation: z.enum(names), ...two }),
    },
    ({ operation, a, b }) => answer(operation, a, b),
  );
  for (const name of names) {
    const { title } = OPERATIONS[name];
    server.registerTool(
      `math_${name}`,
      { title, description: `${title} two numbers.`, inputSchema: z.object(two) },
      (args) => answer(name, args.a, args.b),
    );
  }
  return server;
});
