import { createRequire } from 'node:module';
import { join } from 'node:path';
import {
  Client as ClientV2,
  StreamableHTTPClientTransport as HttpV2,
  ProtocolError,
} from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport as SseV1 } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport as HttpV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { McpError } from '@modelcontextprotocol/sdk/types.js';
import { startChild } from '@tollgate/testkit/child';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';

/** What a host that uses this client would have in hand after a call. */
export interface Shown {
  /** `answer`; `tool-error`: a result that says isError; `error`: the client threw. */
  readonly kind: 'answer' | 'tool-error' | 'error';
  /** The text that reaches the person or the model. */
  readonly text: string;
  /** JSON-RPC or HTTP code of an error, as far as the client tells. */
  readonly code?: number | string;
  readonly meta?: Readonly<Record<string, unknown>>;
}

export interface HostClient extends AsyncDisposable {
  listTools(): Promise<string[]>;
  callTool(name: string, args?: Record<string, unknown>): Promise<Shown>;
}

/** Unmodified clients from npm, each in the eras it can speak. */
export const CLIENTS = [
  'sdk-v1',
  'sdk-v1-sse',
  'sdk-v2-legacy',
  'sdk-v2-auto',
  'inspector-legacy',
  'inspector-modern',
] as const;
export type ClientName = (typeof CLIENTS)[number];

/** Connects a real client to an MCP endpoint. `sdk-v1-sse` uses the 2024-11-05 transport at `<endpoint>/sse`. */
export function connectClient(name: ClientName, url: string): Promise<HostClient> {
  switch (name) {
    case 'sdk-v1':
      return connectV1(new HttpV1(new URL(url)));
    case 'sdk-v1-sse':
      return connectV1(new SseV1(new URL(`${url}/sse`)));
    case 'sdk-v2-legacy':
      return connectV2(url, 'legacy');
    case 'sdk-v2-auto':
      return connectV2(url, 'auto');
    case 'inspector-legacy':
      return connectInspector(url, 'legacy');
    case 'inspector-modern':
      return connectInspector(url, 'modern');
  }
}

interface ToolResult {
  readonly content?: readonly { readonly type: string; readonly text?: string }[];
  readonly isError?: boolean;
  readonly _meta?: Record<string, unknown>;
}

function shownResult(result: ToolResult): Shown {
  return {
    kind: result.isError === true ? 'tool-error' : 'answer',
    text: (result.content ?? []).map((block) => block.text ?? `[${block.type}]`).join('\n'),
    ...(result._meta === undefined ? {} : { meta: result._meta }),
  };
}

async function connectV1(transport: HttpV1 | SseV1): Promise<HostClient> {
  const client = new ClientV1({ name: 'e2e-v1', version: '1.0.0' });
  // The SDK's own types disagree under exactOptionalPropertyTypes.
  await client.connect(transport as Parameters<ClientV1['connect']>[0]);
  return {
    listTools: async () => {
      const names: string[] = [];
      let cursor: string | undefined;
      do {
        const page = await client.listTools(cursor === undefined ? {} : { cursor });
        names.push(...page.tools.map((tool) => tool.name));
        cursor = page.nextCursor;
      } while (cursor !== undefined);
      return names;
    },
    callTool: async (name, args = {}) => {
      try {
        return shownResult((await client.callTool({ name, arguments: args })) as ToolResult);
      } catch (error) {
        const { message } = error as Error;
        return { kind: 'error', text: message, ...(error instanceof McpError ? { code: error.code } : {}) };
      }
    },
    [Symbol.asyncDispose]: () => client.close(),
  };
}

async function connectV2(url: string, mode: 'legacy' | 'auto'): Promise<HostClient> {
  const client = new ClientV2(
    { name: 'e2e-v2', version: '1.0.0' },
    mode === 'auto' ? { versionNegotiation: { mode: 'auto' } } : {},
  );
  await client.connect(new HttpV2(new URL(url)));
  return {
    // Follows the cursor by itself.
    listTools: async () => (await client.listTools()).tools.map((tool) => tool.name),
    callTool: async (name, args = {}) => {
      try {
        return shownResult((await client.callTool({ name, arguments: args })) as ToolResult);
      } catch (error) {
        const { message } = error as Error;
        return { kind: 'error', text: message, ...(error instanceof ProtocolError ? { code: error.code } : {}) };
      }
    },
    [Symbol.asyncDispose]: () => client.close(),
  };
}

const INSPECTOR = join(
  createRequire(import.meta.url).resolve('@modelcontextprotocol/inspector/package.json'),
  '../clients/launcher/build/index.js',
);

/** The Inspector's command line: every operation is a process that connects, acts and prints. */
async function connectInspector(url: string, era: 'legacy' | 'modern'): Promise<HostClient> {
  const home = await temporaryDirectory('inspector');
  const run = async (...args: string[]) => {
    const base = [INSPECTOR, '--cli', url, '--transport', 'http', '--protocol-era', era];
    await using child = await startChild(process.execPath, [...base, ...args], { env: { HOME: home.path }, input: '' });
    const exit = await child.exited;
    return { code: exit.code, stdout: child.stdout(), stderr: child.stderr(), transcript: child.transcript() };
  };
  return {
    listTools: async () => {
      const { code, stdout, transcript } = await run('--method', 'tools/list');
      if (code !== 0) throw new Error(transcript);
      return (JSON.parse(stdout) as { tools: { name: string }[] }).tools.map((tool) => tool.name);
    },
    callTool: async (name, args = {}) => {
      const pairs = Object.entries(args).flatMap(([key, value]) => [
        '--tool-arg',
        `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
      ]);
      const { stdout, stderr } = await run('--method', 'tools/call', '--tool-name', name, ...pairs);
      // A result, one with isError too, goes to standard output; anything else is one JSON line on standard error.
      if (stdout.trim() !== '') return shownResult(JSON.parse(stdout) as ToolResult);
      const line = stderr.split('\n').find((candidate) => candidate.startsWith('{"error"'));
      if (line === undefined) return { kind: 'error', text: stderr.trim() };
      const { error } = JSON.parse(line) as { error: { code: string; message: string } };
      return { kind: 'error', text: error.message, code: error.code };
    },
    [Symbol.asyncDispose]: () => home[Symbol.asyncDispose](),
  };
}
