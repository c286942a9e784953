const USUAL = '/mcp';

/**
 * Path of the endpoint that is meant where a request names none (over `/v1`, REST, operations): `/mcp`, else the first one of
 * the configuration.
 */
export function mainEndpoint(paths: readonly string[]): string {
  return paths.includes(USUAL) ? USUAL : (paths[0] ?? USUAL);
}
