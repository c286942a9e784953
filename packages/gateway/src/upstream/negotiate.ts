/**
 * Which era a server speaks, found out as the specification says (MCP 2026-07-28, Versioning: Backward
 * Compatibility): the modern probe first, `initialize` when the answer or the silence tells of a legacy server.
 */
import { TollgateError } from '../core/errors.ts';
import type { Era } from '../protocol/versions.ts';
import { isModernVersion } from '../protocol/versions.ts';
import {
  type ClientIdentity,
  judgeDiscover,
  type ModernServerInfo,
  ownParams,
  supportedVersions,
  UNDISCOVERED,
  type Verdict,
} from './discover.ts';
import { type Initialized, InitializeRefused, initialize } from './legacy-connection.ts';
import type { Multiplexer } from './multiplexer.ts';

/** The server is alive and does not speak the era that was asked for. */
export class WrongEra extends TollgateError {
  readonly wished: Era;

  constructor(wished: Era, message: string, cause?: unknown) {
    super('server_protocol_error', message, { cause });
    this.wished = wished;
  }
}

export interface NegotiationOptions {
  readonly capabilities: Readonly<Record<string, unknown>>;
  readonly clientInfo: ClientIdentity;
  /** Milliseconds without an answer to the modern probe after which `initialize` is sent too. */
  readonly silence: number;
  /** Milliseconds the whole negotiation may take. */
  readonly timeout: number;
  /** `protocol: modern`: a server without a useful `server/discover` is taken at the operator's word. */
  readonly pinned: boolean;
}

export type Negotiated =
  | { readonly era: 'modern'; readonly info: ModernServerInfo }
  | { readonly era: 'legacy'; readonly initialized: Initialized };

/** Negotiates over a link that carries both eras in one conversation (stdio). Rejects with a TollgateError. */
export async function negotiate(
  multiplexer: Multiplexer,
  era: Era | undefined,
  options: NegotiationOptions,
): Promise<Negotiated> {
  if (era === 'legacy') return legacyOnly(multiplexer, options);
  const probe = discover(multiplexer, options);
  if (era === 'modern') return modernOnly(multiplexer.server, await probe, options);
  const early = await Promise.race([probe, silence(options.silence)]);
  if (early?.era === 'modern') return early;
  if (early?.era === 'neither') throw early.error;
  // A legacy server: another error, or nothing to say before it is initialized. A slow modern one may still answer.
  const late = early === undefined ? probe : undefined;
  try {
    const initialized = initialize(multiplexer, options).then((done) => ({
      era: 'legacy' as const,
      initialized: done,
    }));
    return await (late === undefined ? initialized : afterBoth(late, initialized, options.silence));
  } catch (error) {
    // A modern server without discover names its versions when it refuses (SHOULD of the same page).
    if (refusedAsModern(error)) return { era: 'modern', info: UNDISCOVERED };
    throw error;
  }
}

async function discover(multiplexer: Multiplexer, options: NegotiationOptions): Promise<Verdict> {
  const answer = await multiplexer.call('server/discover', ownParams({}, options.clientInfo), options.timeout);
  return judgeDiscover(multiplexer.server, answer);
}

function modernOnly(server: string, verdict: Verdict, options: NegotiationOptions): Negotiated {
  if (verdict.era === 'modern') return verdict;
  if (verdict.era === 'neither') throw verdict.error;
  if (options.pinned) return { era: 'modern', info: UNDISCOVERED };
  throw new WrongEra('modern', `Server "${server}" does not speak the modern protocol any more`);
}

async function legacyOnly(multiplexer: Multiplexer, options: NegotiationOptions): Promise<Negotiated> {
  try {
    return { era: 'legacy', initialized: await initialize(multiplexer, options) };
  } catch (error) {
    if (error instanceof InitializeRefused) throw new WrongEra('legacy', error.message, error);
    throw error;
  }
}

/** True when `initialize` was refused by a server that says it is modern. */
export function refusedAsModern(error: unknown): boolean {
  return error instanceof InitializeRefused && supportedVersions(error.answer).some(isModernVersion);
}

/**
 * Both questions are on their way. A server of both eras that answers `initialize` has begun a legacy conversation with
 * it, whatever it said to the probe before; one that refuses it, or is silent long after it answered the probe, is modern.
 */
async function afterBoth(
  probe: Promise<Verdict>,
  initialized: Promise<Negotiated>,
  patience: number,
): Promise<Negotiated> {
  // Silence to the end is no evidence; `initialize` decides.
  const verdict = probe.catch(() => undefined);
  const first = await Promise.race([initialized.catch(() => undefined), verdict]);
  if (first === undefined || 'initialized' in first || first.era === 'legacy') return saved(verdict, initialized);
  if (first.era === 'neither') throw first.error;
  return (await Promise.race([initialized.catch(() => undefined), silence(patience)])) ?? first;
}

/** What became of `initialize`; when it was refused, only the probe can still save it. */
async function saved(probe: Promise<Verdict | undefined>, initialized: Promise<Negotiated>): Promise<Negotiated> {
  try {
    return await initialized;
  } catch (error) {
    const verdict = error instanceof InitializeRefused ? await probe : undefined;
    if (verdict?.era === 'modern') return verdict;
    throw error;
  }
}

function silence(ms: number): Promise<undefined> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms, undefined).unref();
  });
}
