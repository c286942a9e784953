export { Ask } from './ask.ts';
export { MemoryLimiter, type MemoryLimiterOptions } from './memory.ts';
export type {
  Admitted,
  Limiter,
  Outcome,
  Refused,
  Rule,
  RuleOptions,
  Standing,
  TokenBucketOptions,
} from './types.ts';
