/**
 * Entries of a server's lists, kept as JSON text: whatever the gateway does not understand (schemas, annotations,
 * unknown members, large integers) goes on meaning for meaning, and listing a thousand of them costs a join.
 */
import { createHash } from 'node:crypto';
import { canonicalJson } from '../core/canonical-json.ts';
import { plainJson } from '../core/plain-text.ts';
import { compileParamHeaders, type ParamHeaders } from '../protocol/headers.ts';
import type { Era } from '../protocol/versions.ts';
import { nameProblem, uriProblem } from './names.ts';
import { UriTemplate } from './uri-template.ts';

/** The four lists. `templates` are resource templates; their changes are announced as `resources`. */
export type Kind = 'tools' | 'prompts' | 'resources' | 'templates';

export const KINDS: readonly Kind[] = ['tools', 'prompts', 'resources', 'templates'];

/** Method that lists the kind, member of its result, and member of an entry that names it. */
export const LISTS: Readonly<Record<Kind, { readonly method: string; readonly member: string; readonly key: string }>> =
  {
    tools: { method: 'tools/list', member: 'tools', key: 'name' },
    prompts: { method: 'prompts/list', member: 'prompts', key: 'name' },
    resources: { method: 'resources/list', member: 'resources', key: 'uri' },
    templates: { method: 'resources/templates/list', member: 'resourceTemplates', key: 'uriTemplate' },
  };

export interface Item {
  /** The server's own name: of a tool or prompt, a URI, or a URI template. */
  readonly name: string;
  /** JSON text of all other members, each with a leading comma. */
  readonly modern: string;
  readonly legacy: string;
  /** Compiled `x-mcp-header` annotations; undefined when there are none. */
  readonly paramHeaders: ParamHeaders | undefined;
  /** False: a tool whose annotations break the rules, which an HTTP client must not see (MCP 2026-07-28). */
  readonly modernListed: boolean;
  /** `_meta.ui.resourceUri` of a tool (MCP Apps); such a resource need not be listed. */
  readonly uiResource: string | undefined;
  readonly template: UriTemplate | undefined;
  /** The whole entry as its server gave it, as canonical JSON (RFC 8785), and the SHA-256 of that in hexadecimal. */
  readonly definition: string;
  readonly digest: string;
}

/** Characters of a name or URI: enough for any honest one, and what a header and a rule can still carry. */
const MAX_KEY = 4096;

type Json = Readonly<Record<string, unknown>>;
type Shape = 'string' | 'object' | 'array';

/** Known optional members. One of a wrong type makes strict clients refuse the whole list, so it is left out. */
const SHAPES: Readonly<Record<string, Shape>> = {
  title: 'string',
  description: 'string',
  mimeType: 'string',
  annotations: 'object',
  outputSchema: 'object',
  execution: 'object',
  _meta: 'object',
  icons: 'array',
  arguments: 'array',
};

/** Reads one entry. A string says why it must be left out; `warn` hears of members that are left out. */
export function readItem(kind: Kind, entry: unknown, warn: (problem: string) => void): Item | string {
  if (!isObject(entry)) return 'is not an object';
  const key = LISTS[kind].key;
  const name = entry[key];
  if (typeof name !== 'string' || name === '') return `has no ${key}`;
  if (name.length > MAX_KEY) return `has a ${key} of more than ${MAX_KEY} characters`;
  const misleading = kind === 'tools' || kind === 'prompts' ? nameProblem(name) : uriProblem(name);
  if (misleading !== undefined) return `${plainJson(name)} ${misleading}`;
  if (kind === 'tools' && !(isObject(entry['inputSchema']) && entry['inputSchema']['type'] === 'object')) {
    return `"${name}" has no inputSchema of type object`;
  }
  if ((kind === 'resources' || kind === 'templates') && typeof entry['name'] !== 'string')
    return `"${name}" has no name`;
  const template = kind === 'templates' ? UriTemplate.compile(name) : undefined;
  if (kind === 'templates' && template === undefined) return `"${name}" is not a usable URI template`;
  const headers = kind === 'tools' ? compileParamHeaders(entry['inputSchema']) : undefined;
  const broken = typeof headers === 'string' ? headers : undefined;
  if (broken !== undefined) warn(`"${name}" is not listed to clients of MCP 2026-07-28: ${broken}`);

  let modern = '';
  let legacy = '';
  for (const [member, value] of Object.entries(entry)) {
    if (member === key) continue;
    const shape = SHAPES[member];
    if (shape !== undefined && !fits(value, shape)) {
      if (value !== null) warn(`"${name}": ${member} is not of type ${shape} and is left out`);
      continue;
    }
    const text = `,${JSON.stringify(member)}:${JSON.stringify(value)}`;
    // Legacy tasks never mix with the extension of the modern era; legacy output schemas are objects at the root.
    if (kind !== 'tools' || member !== 'execution') modern += text;
    if (kind !== 'tools' || member !== 'outputSchema' || (value as Json)['type'] === 'object') legacy += text;
  }
  const definition = canonicalJson(entry);
  return {
    name,
    modern,
    legacy: legacy === modern ? modern : legacy,
    paramHeaders: typeof headers === 'string' ? undefined : headers,
    modernListed: broken === undefined,
    uiResource: kind === 'tools' ? uiResource(entry['_meta']) : undefined,
    template,
    definition,
    digest: createHash('sha256').update(definition).digest('hex'),
  };
}

/** The entry as JSON text under the name it is advertised with. */
export function itemText(kind: Kind, item: Item, name: string, era: Era): string {
  return `{"${LISTS[kind].key}":${JSON.stringify(name)}${era === 'modern' ? item.modern : item.legacy}}`;
}

export function sameItem(a: Item, b: Item): boolean {
  return a === b || (a.name === b.name && a.digest === b.digest);
}

function uiResource(meta: unknown): string | undefined {
  if (!isObject(meta)) return undefined;
  const ui = meta['ui'];
  const uri = isObject(ui) ? ui['resourceUri'] : meta['ui/resourceUri'];
  return typeof uri === 'string' && uri !== '' ? uri : undefined;
}

function fits(value: unknown, shape: Shape): boolean {
  return shape === 'string' ? typeof value === 'string' : shape === 'array' ? Array.isArray(value) : isObject(value);
}

export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
