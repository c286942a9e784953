/**
 * The methods of MCP, of both eras and of the tasks and skills extensions: what each is, who sends it, which
 * parameter names its object, and which capability of a server must be advertised for it to exist.
 */
import type { ListKind } from './peer.ts';
import type { Era } from './versions.ts';

export type NameField = 'name' | 'uri' | 'taskId';

export interface MethodInfo {
  readonly method: string;
  readonly kind: 'request' | 'notification';
  /** Who sends it. Servers never send requests in the modern era. */
  readonly from: 'client' | 'server' | 'both';
  readonly eras: readonly Era[];
  /** Parameter that names the object, in `params`. */
  readonly nameField: NameField | undefined;
  /** True when the modern HTTP transport mirrors that parameter in `Mcp-Name` (SEP-2243). */
  readonly mirrored: boolean;
  /** The list the method reads or announces a change of. */
  readonly list: ListKind | undefined;
  /** Key of the server's capabilities without which the method does not exist; undefined: always there. */
  readonly capability: string | undefined;
}

const BOTH: readonly Era[] = ['legacy', 'modern'];
const LEGACY: readonly Era[] = ['legacy'];
const MODERN: readonly Era[] = ['modern'];
const TASKS = 'extensions/io.modelcontextprotocol/tasks';
const SKILLS = 'extensions/io.modelcontextprotocol/skills';

type Rest = Partial<Pick<MethodInfo, 'nameField' | 'mirrored' | 'list' | 'capability'>>;

function info(
  kind: MethodInfo['kind'],
  from: MethodInfo['from'],
  eras: readonly Era[],
  method: string,
  rest: Rest = {},
): MethodInfo {
  return {
    method,
    kind,
    from,
    eras,
    nameField: rest.nameField,
    mirrored: rest.mirrored ?? false,
    list: rest.list,
    capability: rest.capability,
  };
}

export const METHODS: readonly MethodInfo[] = [
  info('request', 'client', LEGACY, 'initialize'),
  info('request', 'both', LEGACY, 'ping'),
  info('request', 'client', MODERN, 'server/discover'),
  info('request', 'client', MODERN, 'subscriptions/listen'),
  info('request', 'client', BOTH, 'tools/list', { list: 'tools', capability: 'tools' }),
  info('request', 'client', BOTH, 'tools/call', { nameField: 'name', mirrored: true, capability: 'tools' }),
  info('request', 'client', BOTH, 'prompts/list', { list: 'prompts', capability: 'prompts' }),
  info('request', 'client', BOTH, 'prompts/get', { nameField: 'name', mirrored: true, capability: 'prompts' }),
  info('request', 'client', BOTH, 'resources/list', { list: 'resources', capability: 'resources' }),
  info('request', 'client', BOTH, 'resources/templates/list', { list: 'resources', capability: 'resources' }),
  info('request', 'client', BOTH, 'resources/read', { nameField: 'uri', mirrored: true, capability: 'resources' }),
  info('request', 'client', LEGACY, 'resources/subscribe', { nameField: 'uri', capability: 'resources' }),
  info('request', 'client', LEGACY, 'resources/unsubscribe', { nameField: 'uri', capability: 'resources' }),
  info('request', 'client', BOTH, 'completion/complete', { capability: 'completions' }),
  info('request', 'client', LEGACY, 'logging/setLevel', { capability: 'logging' }),
  info('request', 'client', MODERN, 'tasks/get', { nameField: 'taskId', mirrored: true, capability: TASKS }),
  info('request', 'client', MODERN, 'tasks/update', { nameField: 'taskId', mirrored: true, capability: TASKS }),
  info('request', 'client', MODERN, 'tasks/cancel', { nameField: 'taskId', mirrored: true, capability: TASKS }),
  info('request', 'client', MODERN, 'skills/list', { capability: SKILLS }),
  info('request', 'client', MODERN, 'skills/get', { nameField: 'uri', capability: SKILLS }),
  info('request', 'client', MODERN, 'resources/directory/read', { nameField: 'uri', capability: SKILLS }),
  info('request', 'server', LEGACY, 'sampling/createMessage'),
  info('request', 'server', LEGACY, 'elicitation/create'),
  info('request', 'server', LEGACY, 'roots/list'),
  info('notification', 'client', LEGACY, 'notifications/initialized'),
  info('notification', 'client', LEGACY, 'notifications/roots/list_changed'),
  info('notification', 'both', BOTH, 'notifications/cancelled'),
  info('notification', 'both', BOTH, 'notifications/progress'),
  info('notification', 'server', BOTH, 'notifications/message'),
  info('notification', 'server', BOTH, 'notifications/tools/list_changed', { list: 'tools' }),
  info('notification', 'server', BOTH, 'notifications/prompts/list_changed', { list: 'prompts' }),
  info('notification', 'server', BOTH, 'notifications/resources/list_changed', { list: 'resources' }),
  info('notification', 'server', BOTH, 'notifications/resources/updated', { nameField: 'uri' }),
  info('notification', 'server', LEGACY, 'notifications/elicitation/complete'),
  info('notification', 'server', MODERN, 'notifications/subscriptions/acknowledged'),
  info('notification', 'server', MODERN, 'notifications/tasks', { nameField: 'taskId' }),
];

const byMethod = new Map(METHODS.map((entry) => [entry.method, entry]));

/** What is known of a method, or undefined. */
export function methodInfo(method: string): MethodInfo | undefined {
  return byMethod.get(method);
}

/** True when a client of this era may send the method as a request. */
export function isClientRequest(method: string, era: Era): boolean {
  const entry = byMethod.get(method);
  return entry !== undefined && entry.kind === 'request' && entry.from !== 'server' && entry.eras.includes(era);
}

/** The parameter mirrored in `Mcp-Name`, or undefined when the method has no such header. */
export function headerNameField(method: string): NameField | undefined {
  const entry = byMethod.get(method);
  return entry?.mirrored === true ? entry.nameField : undefined;
}
