import { choice, duration, everythingOr, flag, list, map, message, oneOrList, section } from './kit.ts';
import { routeLimit } from './limits.ts';
import { forbiddenKey, pattern, patternKeyProblem, ruleName, scopeName, serverName, toolName } from './names.ts';
import { price } from './prices.ts';

export const refusals = choice(['default', 'http', 'legacy-codes']);

const RESERVED_ROOTS = new Set([
  's',
  'sse',
  'messages',
  'healthz',
  'readyz',
  'metrics',
  'api',
  'v1',
  'api-keys',
  'audit',
  'console',
  'oauth',
  'connect',
  '.well-known',
]);

/** Paths of product pages and of other transports cannot be endpoints. */
function endpointPathProblem(path: string): string | undefined {
  const example = 'For example /mcp or /team/mcp.';
  if (!path.startsWith('/')) return message(`${JSON.stringify(path.slice(0, 80))} is not a path.`, `Write /${path}.`);
  if (path === '/') return message('The root path cannot be an endpoint.', example);
  if (path.length > 256) return message('A path has at most 256 characters.', example);
  if (path.endsWith('/')) return message('A path has no slash at its end.', `Write ${path.replace(/\/+$/, '')}.`);
  const segments = path.slice(1).split('/');
  if (!segments.every((segment) => /^[A-Za-z0-9._~-]+$/.test(segment) && !/^\.+$/.test(segment))) {
    return message('A path has letters, digits, ".", "_", "~" and "-" between single slashes.', example);
  }
  if (segments[0] === 's') return message('/s/… is where every server is served alone.', 'Choose another path.');
  if (RESERVED_ROOTS.has(segments[0]!)) return message(`/${segments[0]} is reserved.`, 'Choose another path.');
  if (['sse', 'messages'].includes(segments.at(-1)!)) {
    return message(`A path that ends in /${segments.at(-1)} is reserved for the transport of 2024-11-05.`, example);
  }
  if (path === '/mcp/tools/invoke') return message('/mcp/tools/invoke is reserved.', 'Choose another path.');
  return forbiddenKey(path);
}

const filter = section({
  allow: everythingOr(list(pattern('files/*'), 'patterns', '["files/*"]'), 'a list of patterns', '["files/*"]')
    .optional()
    .describe(
      'Patterns on `server/tool`; only what one matches exists here. Default everything; an empty list is nothing.',
    ),
  deny: list(pattern('files/delete_*'), 'patterns', '["files/delete_*"]')
    .prefault([])
    .describe('Patterns on `server/tool`; what one matches does not exist here, whatever `allow` says.'),
});

const endpoint = section(
  {
    servers: everythingOr(
      list(serverName('files'), 'names of servers', '[files, github]'),
      'a list of names of servers',
      '[files, github]',
    )
      .prefault('*')
      .describe('`"*"` for all in the order of the file, or a list whose order counts.'),
    naming: choice(['auto', 'prefix', 'priority', 'manual', 'bare'])
      .prefault('auto')
      .describe(
        'When two servers have a tool of one name. `auto`: the first owns it, later ones are advertised as `<server>_<tool>`. `prefix`: always `<server>_<tool>`. `priority`: the first keeps it, the others are left out. `manual`: an error until `tools.<id>.as` names it. `bare`: never renamed.',
      ),
    tools: filter.prefault({}).describe('Which tools exist at this endpoint.'),
    onUnavailable: choice(['partial', 'fail'])
      .prefault('partial')
      .describe('A dead or slow server: list without it and mark the list, or fail the list.'),
    listTimeout: duration().prefault('5s').describe('How long a list waits for one server.'),
    scope: scopeName().optional().describe('Scope a caller needs to use this endpoint.'),
    auth: list(ruleName('the name of an auth entry', 'corp'), 'names of auth entries', '[ci]')
      .optional()
      .describe('Auth entries this endpoint accepts; `anonymous` is one. Default all, an empty list nobody.'),
    refusals: refusals.optional().describe('Form of refusals here. Default: the top-level `refusals`.'),
  },
  { later: ['resources', 'prompts', 'transforms', 'cache', 'guards', 'limits', 'access', 'cors'] },
);

export const endpoints = map(endpoint, 'endpoints', endpointPathProblem).describe(
  'MCP URLs by path. Default: `/mcp` with every server. Every server is also served alone, with all its tools, at `/s/<server>`.',
);

const tool = section(
  {
    as: toolName().optional().describe('Advertised name, for one tool written as `server/tool`.'),
    timeout: duration().optional().describe('The whole call, in place of the server’s `timeout.request`.'),
    validate: flag()
      .optional()
      .describe('Check arguments against the input schema before the call. Default false: the server does.'),
    price: price.optional().describe('What a call costs; a list where it costs in several units.'),
  },
  { later: ['cache', 'retry', 'transform', 'hidden', 'description', 'pin'] },
);

export const tools = map(tool, 'tools', patternKeyProblem).describe(
  'Settings of tools by pattern on `server/tool`. The most specific pattern wins a value; a tie is an error.',
);

const route = section(
  {
    tool: pattern('math_*').optional().describe('Pattern on `server/tool`.'),
    resource: pattern('data://*').optional().describe('Pattern on the URI.'),
    prompt: pattern('greet_*').optional().describe('Pattern on `server/prompt`.'),
    to: oneOrList(serverName('math'), 'the name of a server', 'math').describe(
      'Server or servers, in order of preference.',
    ),
    scope: scopeName().optional().describe('Scope a caller needs.'),
    timeout: duration().optional().describe('The whole call, in place of the server’s `timeout.request`.'),
    limit: routeLimit
      .optional()
      .describe('A limit of its own for what this route takes, counted by principal and added to the others.'),
  },
  { later: ['retry', 'name', 'when', 'cache', 'transform', 'priority'], hints: { server: 'Write `to`.' } },
);

export const routes = list(route, 'routes', '[{ tool: "math_*", to: math }]').describe(
  'Pattern to server; the first match in file order counts, and one without a pattern is the default wherever it stands. Without any route every name goes to its own server.',
);
