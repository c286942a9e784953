/** What can only be seen in tool definitions: names, parameters, and what one server's tools say about another's. */

import { isConfusable } from './characters.ts';
import type { Finding } from './finding.ts';

/** A definition found in a value or in the catalog. */
export interface FoundTool {
  readonly server: string | undefined;
  readonly name: string;
  readonly where: string;
  readonly definition: Readonly<Record<string, unknown>>;
}

const MAX_TOOLS = 2000;
/** Names of tools that are looked for in descriptions. Shorter ones are words. */
const MIN_NAME = 5;

const COLLECTS =
  /^(?:full_|entire_|complete_|all_|raw_)?(?:conversation|chat|message|session|prompt|user)_?(?:history|transcript|log|context)$|^(?:all_|previous_|prior_){1,2}messages$|^(?:system|hidden|developer)_?(?:prompt|message|instructions)$|^(?:env|environment)_?(?:vars|variables|dump)$|^(?:chain_of_thought|model_reasoning|internal_reasoning)$|^(?:user_)?(?:credentials|passwords|api_keys|access_tokens)$/;
const ASKS_FOR =
  /\b(?:include|put|pass|paste|provide|copy|must contain|fill in|add)\b[^\n]{0,120}?\b(?:(?:entire|full|whole|complete) (?:conversation|chat|context|history)|system prompt|contents? of (?:~|\/|any file)|previous messages|environment variables|\.env\b|id_rsa|private key|api keys?|credentials)/;
const REFERENCE =
  /\b(?:when(?:ever)?|each time|every time|before|after|if) (?:you )?(?:use|using|used|call|calling|called|invoke|invoking) (?:the )?[`'"]?([a-z0-9_./-]{3,64})[`'"]?(?: tool)?/g;
const CHANGES =
  /\b(?:always|must|bcc|instead of|also send|replace|override|redirect|do not use|never use|before using|deprecated|unsafe|set the)\b/;

/** Definitions anywhere in a value: objects with a name and a description or an input schema. */
export function findTools(value: unknown): readonly FoundTool[] {
  const found: FoundTool[] = [];
  const waiting: { value: unknown; where: string; server: string | undefined; depth: number }[] = [
    { value, where: '$', server: undefined, depth: 0 },
  ];
  for (let next = waiting.shift(); next !== undefined && found.length < MAX_TOOLS; next = waiting.shift()) {
    const { value: here, where, server, depth } = next;
    if (typeof here !== 'object' || here === null || depth > 12) continue;
    const entries: [string | number, unknown][] = Array.isArray(here)
      ? here.map((v, i) => [i, v])
      : Object.entries(here);
    const tool = toolOf(here as Readonly<Record<string, unknown>>, where, server);
    if (tool !== undefined) {
      found.push(tool);
      continue;
    }
    for (const [key, member] of entries) {
      if (typeof member !== 'object' || member === null) continue;
      const path =
        typeof key === 'number' ? `${where}[${key}]` : `${where}.${key.replace(/[^\w$-]/g, '?').slice(0, 60)}`;
      // `servers: { mail: { tools: [...] } }`
      const named = where.endsWith('.servers') || where.endsWith('.mcpServers') ? String(key) : server;
      waiting.push({ value: member, where: path, server: named, depth: depth + 1 });
    }
  }
  return found;
}

function toolOf(
  object: Readonly<Record<string, unknown>>,
  where: string,
  server: string | undefined,
): FoundTool | undefined {
  const { name, description, inputSchema, input_schema: snake, server: own } = object;
  if (typeof name !== 'string') return undefined;
  if (typeof description !== 'string' && typeof (inputSchema ?? snake) !== 'object') return undefined;
  return { server: typeof own === 'string' ? own : server, name, where, definition: object };
}

/** What is wrong with definitions, one by one and together. */
export function scanTools(tools: readonly FoundTool[]): Finding[] {
  const findings: Finding[] = [];
  const owners = new Map<string, Set<string | undefined>>();
  for (const { name, server } of tools) {
    const key = name.toLowerCase();
    const servers = owners.get(key) ?? new Set();
    servers.add(server);
    owners.set(key, servers);
  }
  for (const tool of tools) {
    if (isConfusable(tool.name)) {
      findings.push({
        id: 'homoglyph_name',
        severity: 'high',
        where: `${tool.where}.name`,
        what: 'A name with letters of another script that look like Latin ones: it poses as another tool.',
        fix: 'Remove the server, or rename the tool with `tools.<id>.as`.',
      });
    }
    findings.push(...shadowing(tool, owners), ...parameters(tool));
  }
  return findings;
}

function shadowing(tool: FoundTool, owners: ReadonlyMap<string, ReadonlySet<string | undefined>>): Finding[] {
  const { description } = tool.definition;
  if (typeof description !== 'string') return [];
  const text = description.normalize('NFKC').toLowerCase();
  if (!CHANGES.test(text)) return [];
  const shadowed = [...referred(text)].filter((name) => {
    const servers = owners.get(name) ?? owners.get(name.slice(name.indexOf('/') + 1));
    // What a server says about its own tools is advice.
    return servers === undefined ? /[_-]/.test(name) : !servers.has(tool.server);
  });
  const named = mentions(text, tool, owners);
  if (shadowed.length === 0 && !named) return [];
  return [
    {
      id: 'tool_shadowing',
      severity: 'high',
      where: `${tool.where}.description`,
      what: 'A description that changes how the tool of another server is used.',
      fix: 'Remove this server until its author has explained the text; pin the definitions of both.',
    },
  ];
}

function referred(text: string): Set<string> {
  const names = new Set<string>();
  for (const [, name] of text.matchAll(REFERENCE)) {
    if (name !== undefined && names.size < 100) names.add(name.replace(/[.,/-]+$/, ''));
  }
  return names;
}

/** A word of the text is the name of a tool that only other servers have. */
function mentions(
  text: string,
  tool: FoundTool,
  owners: ReadonlyMap<string, ReadonlySet<string | undefined>>,
): boolean {
  for (const [word] of text.matchAll(/[a-z0-9_./-]{5,128}/g)) {
    const name = word.replace(/[.,/-]+$/, '');
    if (name.length < MIN_NAME || !/[_/-]/.test(name) || name === tool.name.toLowerCase()) continue;
    const servers = owners.get(name) ?? owners.get(name.slice(name.indexOf('/') + 1));
    if (servers !== undefined && !servers.has(tool.server)) return true;
  }
  return false;
}

function parameters(tool: FoundTool): Finding[] {
  const schema = (tool.definition['inputSchema'] ?? tool.definition['input_schema']) as
    | { properties?: unknown }
    | undefined;
  const properties = schema?.properties;
  if (typeof properties !== 'object' || properties === null) return [];
  const findings: Finding[] = [];
  for (const [name, property] of Object.entries(properties).slice(0, 200)) {
    const described = (property as { description?: unknown } | null)?.description;
    const asks = typeof described === 'string' && ASKS_FOR.test(described.normalize('NFKC').toLowerCase());
    if (!asks && !COLLECTS.test(name.replace(/([a-z])([A-Z])/g, '$1_$2').toLowerCase())) continue;
    findings.push({
      id: 'exfiltration_parameter',
      severity: 'high',
      where: `${tool.where}.inputSchema.properties.${name.replace(/[^\w$-]/g, '?').slice(0, 60)}`,
      what: 'A parameter that collects the conversation, the system prompt or credentials: models fill in what a schema asks for.',
      fix: 'Remove the parameter with a transformer, or do not use the tool.',
    });
    if (findings.length === 10) break;
  }
  return findings;
}
