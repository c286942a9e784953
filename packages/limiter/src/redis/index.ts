export { StoreError, type StoreFailure } from './errors.ts';
export { RedisLimiter, type RedisLimiterOptions } from './limiter.ts';
export {
  type ClusterClient,
  cluster,
  type RedisPort,
  type SentinelClient,
  type SingleClient,
  sentinel,
  standalone,
} from './port.ts';
export { type LimiterStatus, ResilientLimiter, type ResilientOptions } from './resilient.ts';
export { checkServer, ledgerIn, type Seed, seed } from './seed.ts';
