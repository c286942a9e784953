/** Tollgate as a library. What is not exported here may change at any time. */
export { type Control, createControl, createGateway, type GatewayOptions } from './api/library.ts';
export { createOperations } from './api/operations/create.ts';
export {
  defineOperation,
  type Operation,
  type OperationContext,
  type OperationOptions,
  OperationRegistry,
  type OperationResult,
} from './api/operations/operation.ts';
export type { OperationAnswer, Operations, OperationsOptions } from './api/operations/operations.ts';
export { OperationProblem, type ProblemReason } from './api/operations/problem.ts';
export { standardOperations } from './api/operations/standard.ts';
export { type ErrorCode, TollgateError } from './core/errors.ts';
export type { Log } from './core/log.ts';
export type { Principal } from './core/principal.ts';
export {
  createProxy,
  type ProxyRunOptions,
  type ProxyStatistics,
  type RunningProxy,
  type ToolProxy,
} from './pipeline/builder.ts';
export type {
  BearerOptions,
  Duration,
  HttpUpstream,
  ProxyFlags,
  Rate,
  RateLimits,
  RouteOptions,
  StdioUpstream,
  UpstreamOptions,
} from './pipeline/builder-options.ts';
export type { CallFeed, GatewayConfig, GatewayHandle, StdioOptions } from './pipeline/create-gateway.ts';
export type { StatusReport } from './pipeline/status-report.ts';
export type { CallCounts, CallStatistics, FinishedCall } from './telemetry/calls.ts';
export { metadataTransformer, redactTransformer } from './transform/factories.ts';
export {
  type RequestTransformer,
  type ResponseTransformer,
  type TransformedCall,
  TransformRegistry,
} from './transform/registry.ts';
