import * as z from 'zod';
import { choice, duration, list, map, message, secretMap, section, text, whole } from './kit.ts';
import { environmentNameProblem, headerNameProblem, pin, serverNameProblem, serverUrl } from './names.ts';
import { upstreamAuth } from './upstream-auth.ts';

const INSTANCE_MODES = ['auto', 'shared', 'per-session', 'per-principal'] as const;

const timeout = section({
  connect: duration()
    .optional()
    .describe(
      'To open a connection. Default 5s, or the whole call’s time where that is less. The first answer of a process may take as long as `request`: package runners download first.',
    ),
  firstByte: duration()
    .optional()
    .describe('From sending a request to the first byte of the answer. Default: `request`.'),
  idle: duration().optional().describe('Between two pieces of an answer. Default: `request`.'),
  request: duration().prefault('30s').describe('The whole call, from admission, waiting for a connection included.'),
});

const instances = z.union(
  [
    choice(INSTANCE_MODES),
    section({
      mode: choice(INSTANCE_MODES)
        .prefault('auto')
        .describe('`auto`: shared for a modern server; for a legacy one per session, else per principal.'),
      max: whole(1, 1000).prefault(8).describe('Processes of this server at the same time.'),
      idle: duration().prefault('5m').describe('A process without a call for so long is stopped.'),
    }),
  ],
  { error: message('Must be the name of a mode or a map.', 'For example shared, or { mode: shared, max: 2 }.') },
);

const tls = section({
  ca: text('a file', './ca.pem')
    .optional()
    .describe('PEM file of the authorities to trust for this server. Default those of the system.'),
  pin: list(pin(), 'pins', '["sha256/…"]')
    .optional()
    .describe(
      'SHA-256 of the public key (SPKI, base64) of its certificate, or of one above it; one of them must be there, beside all other checks. Write the next key’s too, before you change it.',
    ),
  serverName: text('a host name', 'mcp.internal')
    .optional()
    .describe('Name in its certificate. Default: the host of `url`.'),
  minVersion: choice(['1.3', '1.2'])
    .prefault('1.3')
    .describe('Lowest version of TLS. `1.2` only for a server that cannot do better.'),
});

const server = section(
  {
    command: text('a command', 'npx')
      .optional()
      .describe('Program of a stdio server. A path with a leading dot starts at the file’s folder.'),
    args: list(z.string({ error: 'Each argument must be text; put quotes round it.' }), 'arguments', '[-y, my-server]')
      .optional()
      .describe('Its arguments. No `${…}` here: other users of the machine can read a command line.'),
    env: secretMap('environment variables', environmentNameProblem)
      .optional()
      .describe('Its environment, beside a minimal base (PATH, HOME, …). Never shown.'),
    cwd: text('a folder', './server').optional().describe('Its folder. Default: the folder of the configuration file.'),
    url: serverUrl().optional().describe('Address of an HTTP server.'),
    headers: secretMap('headers', headerNameProblem).optional().describe('Sent with every request to it. Never shown.'),
    type: choice(['stdio', 'http', 'streamable-http', 'sse'])
      .optional()
      .describe(
        'As other clients write it; `sse` is the transport of 2024-11-05. Default: told by `command` or `url`.',
      ),
    protocol: choice(['auto', 'modern', 'legacy', 'sse'])
      .optional()
      .describe('`auto` detects the era once; a server that speaks both is spoken to in the caller’s. Default `auto`.'),
    auth: upstreamAuth
      .optional()
      .describe('How the gateway gets the tokens it sends. `oauth` is short for { oauth: {} }: `tollgate login NAME`.'),
    timeout: timeout.prefault({}).describe('How long to wait for what.'),
    instances: instances
      .optional()
      .describe('How many processes of a stdio server, and who shares one. Default `auto`.'),
    tls: tls.optional().describe('How an `https` server is recognised. It is verified in any case.'),
    pool: section({
      max: whole(1, 10_000).prefault(10).describe('Connections kept to an HTTP server.'),
    })
      .optional()
      .describe('Connections to an HTTP server.'),
  },
  {
    later: ['urls', 'balance', 'backup', 'retry', 'breaker', 'health', 'weight', 'vault'],
    hints: {
      transport: 'Write `type` or `protocol`.',
      environment: 'Write `env`.',
      serverUrl: 'Write `url`.',
      httpUrl: 'Write `url`.',
      disabled: 'Remove the server instead, or comment it out.',
      enabled: 'Remove the server instead, or comment it out.',
      alwaysAllow: 'That is a setting of a client; remove it.',
      autoApprove: 'That is a setting of a client; remove it.',
      envFile: 'Write the variables into `env`.',
    },
  },
);

export const servers = map(server, 'servers', serverNameProblem).describe(
  'The MCP servers behind the gateway, by name. Entries of an `mcpServers` map work as they are. Their order counts: the first owns a tool name that several have.',
);
