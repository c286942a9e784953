/**
 * The format of a decision record: one line of JSON, documented in `docs/decisions.md`. Readers ignore members they
 * do not know; a change that an old reader would misunderstand raises `v`.
 */
import * as z from 'zod';
import { ACCESS_CHECKS } from '../../core/access-refusal.ts';
import type { ArgumentsSkeleton } from './skeleton.ts';

export const RECORD_VERSION = 1;
/** Longest line that is read from a file. */
const MAX_LINE = 1024 * 1024;

/** Micro-units, as they are counted: whole, and never below nothing. */
const micros = z.int().min(0);
const amounts = z.record(z.string(), micros);

const rule = z.object({
  /** Name of the limit in the configuration. */
  name: z.string(),
  /** What its counters are kept by; another than the name while a limit has the counters of another. */
  rule: z.string().optional(),
  /** Digest of the counter's key. */
  key: z.string().optional(),
  unit: z.string(),
  /** In micro-units where `unit` is not `requests`. */
  cost: micros,
  shadow: z.boolean().optional(),
  /** What the caller itself is not told of it: where it stands, or that it exists. */
  hidden: z.enum(['numbers', 'limit']).optional(),
  /** Only of rules in the way, and of all rules where they were asked: before and after the decision. */
  capacity: z.number().optional(),
  usedBefore: z.number().optional(),
  usedAfter: z.number().optional(),
  held: z.number().optional(),
  remaining: z.number().optional(),
  violated: z.boolean().optional(),
  reason: z.string().optional(),
  /** Absent where waiting cannot help. */
  retryAfterSeconds: z.number().optional(),
  resetAt: z.string().optional(),
});

/** Why access refused. */
const access = z.object({
  by: z.enum(ACCESS_CHECKS),
  /** All that the operation needs. */
  scopes: z.array(z.string()).optional(),
  /** The route that needs them, by its place in the file, from 1. */
  route: z.number().optional(),
  /** The rules whose condition did not hold, by their places in the file, from 1. */
  rules: z.array(z.object({ rule: z.number(), when: z.string() })).optional(),
  block: z.object({ id: z.string(), who: z.string(), reason: z.string(), until: z.string().optional() }).optional(),
});

const document = z.object({
  v: z.literal(RECORD_VERSION),
  id: z.string().min(1).max(200),
  at: z.iso.datetime({ precision: null }),
  verdict: z.enum(['admitted', 'refused']),
  reason: z.string().optional(),
  method: z.string(),
  endpoint: z.string(),
  object: z.string().optional(),
  server: z.string().optional(),
  caller: z.object({
    id: z.string(),
    tenant: z.string().optional(),
    tier: z.string(),
    roles: z.array(z.string()).optional(),
    /** Only where one was missing. */
    scopes: z.array(z.string()).optional(),
    client: z.string().optional(),
    session: z.string().optional(),
    address: z.string().optional(),
  }),
  rules: z.array(rule),
  shadowed: z.array(z.string()).optional(),
  retryAfterSeconds: z.number().optional(),
  estimated: z.boolean().optional(),
  because: z.string().optional(),
  access: access.optional(),
  waitedMs: z.number().optional(),
  hold: z.object({ id: z.string(), amounts }).optional(),
  /** Amounts the call was charged or would have cost, by unit. */
  cost: amounts.optional(),
  price: z.enum(['none', 'fixed', 'computed', 'reported']).optional(),
  degraded: z.enum(['local', 'open', 'closed']).optional(),
  configuration: z.string().optional(),
  arguments: z.custom<ArgumentsSkeleton>((value) => typeof value === 'object' && value !== null).optional(),
  /** Value of every expression of the configuration for this call, by source; null: it failed. */
  expressions: z.record(z.string(), z.union([z.boolean(), z.number(), z.null()])).optional(),
});

export type DecisionDocument = z.infer<typeof document>;
export type RuleEntry = z.infer<typeof rule>;

/** Tenant of the caller in a record of any version; undefined: it had none. */
export function tenantOfRecord(json: string): string | undefined {
  const { caller } = JSON.parse(json) as { readonly caller?: { readonly tenant?: string } };
  return caller?.tenant;
}

/** What is wrong with a line of a record file. */
export interface BadLine {
  readonly line: number;
  readonly what: string;
}

/** Reads one record. A string is what is wrong with it; it quotes no value. */
export function readRecord(text: string): DecisionDocument | string {
  if (text.length > MAX_LINE) return 'the line is longer than 1 MiB';
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return 'the line is not JSON';
  }
  const version = typeof value === 'object' && value !== null ? (value as { v?: unknown }).v : undefined;
  if (version !== RECORD_VERSION) {
    return typeof version === 'number' && version > RECORD_VERSION
      ? `the record has version ${version}, this program reads ${RECORD_VERSION}`
      : 'the line is not a decision record (it has no `v`)';
  }
  const result = document.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  return `${issue.path.length === 0 ? 'the record' : issue.path.join('.')} is not as documented`;
}

/** Reads JSON Lines: records in the order of the file, and what could not be read. Empty lines are skipped. */
export function readRecords(text: string): { readonly records: DecisionDocument[]; readonly bad: BadLine[] } {
  const records: DecisionDocument[] = [];
  const bad: BadLine[] = [];
  let line = 0;
  for (const content of text.split('\n')) {
    line++;
    if (content.trim() === '') continue;
    const record = readRecord(content);
    if (typeof record === 'string') bad.push({ line, what: record });
    else records.push(record);
  }
  return { records, bad };
}
