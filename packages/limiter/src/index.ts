export { Ask, MAX_HOLD_ID, MAX_RULES } from './ask.ts';
export { type CalendarPeriod, type CalendarWindow, calendarWindow } from './calendar.ts';
export { MemoryLimiter, type MemoryLimiterOptions } from './memory.ts';
export { SharedLimiter, type SharedSizes, sharedMemory } from './shared.ts';
export type {
  Admitted,
  CalendarWindowOptions,
  ConcurrencyOptions,
  Crossing,
  Degraded,
  FixedWindowOptions,
  HoldResult,
  Limiter,
  Outcome,
  PerCallOptions,
  Refused,
  Rule,
  RuleOptions,
  Settlement,
  SlidingWindowOptions,
  Standing,
  TokenBucketOptions,
  TotalOptions,
} from './types.ts';
