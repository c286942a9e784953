/** What an endpoint says of itself in `initialize` and `server/discover`: only what it can really serve. */
import type { Era } from '../protocol/versions.ts';
import { isObject } from './items.ts';
import type { Listing } from './listing.ts';

const TASKS = 'io.modelcontextprotocol/tasks';
const MAX_INSTRUCTIONS = 16 * 1024;
const MAX_ALL_INSTRUCTIONS = 64 * 1024;

/**
 * Capabilities of the endpoint. `listChanged` is always true, as the gateway announces changes itself whatever its
 * servers do. A server that has not been reached yet may turn out to offer anything, so while there is one, all
 * three kinds are advertised: a client asks only for what it was told of at the start. Extensions, experimental
 * features and legacy tasks need their methods and handles to reach the one server that declared them, so they are
 * passed on only where the endpoint has exactly one server, and only in that server's own era. The tasks extension is
 * served in front of several servers too, as the gateway knows whose each task is.
 */
export function mergeCapabilities(listings: readonly Listing[], era: Era): Record<string, unknown> {
  const all = listings.map((listing) => listing.facts?.capabilities);
  const unknown = all.includes(undefined);
  const declares = (name: string): boolean => all.some((one) => isDeclared(one?.[name]));
  const merged: Record<string, unknown> = {};
  if (unknown || declares('tools')) merged['tools'] = { listChanged: true };
  if (unknown || declares('prompts')) merged['prompts'] = { listChanged: true };
  if (unknown || declares('resources')) {
    const subscribe = all.some((one) => isObject(one?.['resources']) && one['resources']['subscribe'] === true);
    merged['resources'] = subscribe ? { subscribe: true, listChanged: true } : { listChanged: true };
  }
  if (declares('completions')) merged['completions'] = {};
  if (declares('logging')) merged['logging'] = {};
  const only = listings.length === 1 ? listings[0]!.facts : undefined;
  if (only !== undefined && only.era === era) {
    for (const name of era === 'modern' ? ['extensions', 'experimental'] : ['experimental', 'tasks']) {
      if (isObject(only.capabilities[name])) merged[name] = only.capabilities[name];
    }
  } else if (listings.length > 1 && era === 'modern' && all.some(hasTasks)) {
    merged['extensions'] = { [TASKS]: {} };
  }
  return merged;
}

/** Instructions of all servers, in order, each under its server's name when there are several; cut at 64 KiB. */
export function mergeInstructions(
  listings: readonly Listing[],
  shown?: (server: string) => boolean,
): string | undefined {
  const parts: { server: string; text: string }[] = [];
  for (const { server, facts } of listings) {
    if (shown?.(server.name) === false) continue;
    const text = facts?.instructions?.trim();
    if (text !== undefined && text !== '') parts.push({ server: server.name, text: cut(text, MAX_INSTRUCTIONS) });
  }
  if (parts.length === 0) return undefined;
  if (listings.length === 1) return parts[0]!.text;
  return cut(parts.map(({ server, text }) => `## ${server}\n\n${text}`).join('\n\n'), MAX_ALL_INSTRUCTIONS);
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1).toWellFormed()}…`;
}

function hasTasks(capabilities: Readonly<Record<string, unknown>> | undefined): boolean {
  const extensions = capabilities?.['extensions'];
  return isObject(extensions) && isObject(extensions[TASKS]);
}

function isDeclared(value: unknown): boolean {
  return value !== undefined && value !== null && value !== false;
}
