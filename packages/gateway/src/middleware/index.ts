/** Limits of Tollgate for HTTP servers and MCP handlers of others: `import … from 'tollgate/middleware'`. */
export { type FastifyReplyLike, type FastifyRequestLike, limitFastify } from './fastify.ts';
export { limitHono } from './hono.ts';
export type { ClientIdOf, LimiterAnswer, LimiterLike, MiddlewareOptions } from './limiter.ts';
export { clientUsage, guardMcp, type McpGuardOptions, type McpRefusal, upgradeClient } from './mcp.ts';
export { type ExpressRequest, limitExpress, limitHttp } from './node.ts';
export { type RemoteLimiterOptions, remoteLimiter } from './remote.ts';
