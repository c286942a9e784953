import type { RouteOptions } from '../routing/options.ts';
import type { RouteConfig } from './schema.ts';
import { asList } from './values.ts';

export function compileRoute(route: RouteConfig): RouteOptions {
  return {
    tool: route.tool,
    resource: route.resource,
    prompt: route.prompt,
    to: asList(route.to)!,
    scope: route.scope,
    timeout: route.timeout,
  };
}
