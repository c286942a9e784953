/**
 * Parsing for the paths that must understand a message (bridge, catalog). Numbers that a double cannot hold,
 * or whose form would change, keep their source text through `JSON.rawJSON`, so that large integers survive.
 */
interface ReviverContext {
  readonly source?: string;
}

interface RawJson {
  rawJSON(text: string): unknown;
  isRawJSON(value: unknown): boolean;
}

const rawJson = JSON as unknown as RawJson;

function keepSource(_key: string, value: unknown, context?: ReviverContext): unknown {
  return typeof value === 'number' && context?.source !== undefined && context.source !== String(value)
    ? rawJson.rawJSON(context.source)
    : value;
}

/** Parses; with `exact`, numbers keep their source text. `JSON.stringify` writes them back unchanged. */
export function parseLossless(text: string, exact: boolean): unknown {
  return exact
    ? JSON.parse(text, keepSource as (this: unknown, key: string, value: unknown) => unknown)
    : JSON.parse(text);
}
