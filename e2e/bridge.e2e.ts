import { resolve } from 'node:path';
import { Client as ClientV2, StreamableHTTPClientTransport as HttpV2 } from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as HttpV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { startChild } from '@tollgate/testkit/child';
import { type RunningGateway, startGateway } from '@tollgate/testkit/gateway';
import { verifies } from '@tollgate/testkit/verifies';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { everythingServer } from './servers.ts';

const FIXTURE = resolve(import.meta.dirname, '../conformance/fixture/main.ts');
const CAPABILITIES = { sampling: {}, elicitation: { form: {} }, roots: {} };
const ANSWERS = {
  sampling: { model: 'm', role: 'assistant' as const, content: { type: 'text' as const, text: 'a sampled answer' } },
  elicitation: { action: 'accept' as const, content: { name: 'Ada', color: 'green' } },
  roots: { roots: [{ uri: 'file:///home/ada', name: 'home' }] },
};

interface Person extends AsyncDisposable {
  call(name: string, args?: Record<string, unknown>): Promise<string>;
  /** Progress values of a call that asks for them. */
  progress(name: string, args: Record<string, unknown>): Promise<number[]>;
}

type Result = { content?: { text?: string }[]; isError?: boolean };
const textOf = (result: unknown): string => (result as Result).content?.map((block) => block.text).join('\n') ?? '';

/** A host with a person in front of it: answers samplings, forms and root lists. */
async function person(era: 'legacy' | 'modern', url: string): Promise<Person> {
  if (era === 'legacy') {
    const client = new ClientV1({ name: 'person', version: '1' }, { capabilities: CAPABILITIES });
    client.setRequestHandler(CreateMessageRequestSchema, () => ANSWERS.sampling);
    client.setRequestHandler(ElicitRequestSchema, () => ANSWERS.elicitation);
    client.setRequestHandler(ListRootsRequestSchema, () => ANSWERS.roots);
    await client.connect(new HttpV1(new URL(url)) as Parameters<ClientV1['connect']>[0]);
    return {
      call: async (name, args = {}) => textOf(await client.callTool({ name, arguments: args })),
      progress: async (name, args) => {
        const seen: number[] = [];
        const onprogress = ({ progress }: { progress: number }) => seen.push(progress);
        await client.callTool({ name, arguments: args }, undefined, { onprogress });
        return seen;
      },
      [Symbol.asyncDispose]: () => client.close(),
    };
  }
  const client = new ClientV2(
    { name: 'person', version: '1' },
    { capabilities: CAPABILITIES, versionNegotiation: { mode: 'auto' } },
  );
  client.setRequestHandler('sampling/createMessage', () => ANSWERS.sampling);
  client.setRequestHandler('elicitation/create', () => ANSWERS.elicitation);
  client.setRequestHandler('roots/list', () => ANSWERS.roots);
  await client.connect(new HttpV2(new URL(url)));
  return {
    call: async (name, args = {}) => textOf(await client.callTool({ name, arguments: args })),
    progress: async (name, args) => {
      const seen: number[] = [];
      await client.callTool({ name, arguments: args }, { onprogress: ({ progress }) => void seen.push(progress) });
      return seen;
    },
    [Symbol.asyncDispose]: () => client.close(),
  };
}

const stack = new AsyncDisposableStack();
let gateway: RunningGateway;
beforeAll(async () => {
  const http = async (kind: 'legacy' | 'modern'): Promise<object> => {
    const fixture = stack.use(await startChild(process.execPath, [FIXTURE, 'http', kind]));
    return { url: (await fixture.waitFor(/fixture on (\S+)/))[1] };
  };
  gateway = stack.use(
    await startGateway({
      version: 1,
      servers: {
        everything: everythingServer(),
        legacy: await http('legacy'),
        modern: await http('modern'),
        stdio: { command: process.execPath, args: [FIXTURE, 'stdio'] },
      },
    }),
  );
});
afterAll(() => stack.disposeAsync());

describe.each(['legacy', 'modern'] as const)('a %s client', (era) => {
  it('answers what an unmodified legacy server over stdio asks, and sees its progress', async () => {
    verifies('R1-27');
    await using host = await person(era, gateway.url('/s/everything'));
    expect(await host.call('trigger-sampling-request', { prompt: 'hi', maxTokens: 10 })).toContain('a sampled answer');
    expect(await host.call('trigger-elicitation-request')).toContain('Ada');
    // The server may ask for roots by itself in here; progress goes on under the token of the round that follows.
    const progress = await host.progress('trigger-long-running-operation', { duration: 1, steps: 10 });
    // The modern SDK counts its rounds in the same callback, so only the end is the server's for sure.
    expect(progress.at(-1)).toBe(10);
  });

  it.each([
    'legacy',
    'modern',
    'stdio',
  ] as const)('answers what a %s server asks, in several rounds', async (server) => {
    verifies('R1-28');
    await using host = await person(era, gateway.url(`/s/${server}`));
    expect(await host.call('test_sampling', { prompt: 'hi' })).toBe('LLM response: a sampled answer');
    expect(await host.call('test_input_required_result_elicitation')).toBe('Hello, Ada!');
    expect(await host.call('test_input_required_result_list_roots')).toBe('Roots: file:///home/ada');
    expect(await host.call('test_input_required_result_multiple_inputs')).toBe('all inputs received');
    expect(await host.call('test_input_required_result_multi_round')).toBe('Ada likes green');
    expect(await host.progress('test_tool_with_progress', {})).toEqual([0, 50, 100]);
  });
});
