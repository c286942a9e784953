/** Doubles for the bridge's tests: a client that records what it is told, a server that does what it is told. */

import { TollgateError } from '../../core/errors.ts';
import { Lifetime } from '../../core/lifetime.ts';
import { lanesOf, type Principal } from '../../core/principal.ts';
import { type AnswerListener, Call, type ClientSession, type Reply } from '../call.ts';
import { encode } from '../json/splice.ts';
import type { Message } from '../message.ts';
import type { Connection, OutboundRequest, ReplyHandler } from '../peer.ts';
import type { Era } from '../versions.ts';
import type { Outcome } from './outcome.ts';

type Json = Record<string, unknown>;

export const ada: Principal = {
  id: 'test/ada',
  person: 'test/ada',
  key: 1,
  lanes: lanesOf('test/ada'),
  entry: 'test',
  subject: 'ada',
  tenant: undefined,
  tier: undefined,
  roles: [],
  scopes: undefined,
  clientId: undefined,
};

export interface Question {
  readonly method: string;
  readonly params: unknown;
  readonly listener: AnswerListener;
  withdrawn: string | undefined;
}

export class FakeReply implements Reply {
  canAsk = true;
  readonly notes: unknown[] = [];
  readonly questions: Question[] = [];
  notify(message: Message): void {
    this.notes.push(message.object());
  }
  ask(method: string, params: string | undefined, listener: AnswerListener): (reason: string) => void {
    const question: Question = {
      method,
      params: params === undefined ? undefined : JSON.parse(params),
      listener,
      withdrawn: undefined,
    };
    this.questions.push(question);
    return (reason) => {
      question.withdrawn = reason;
    };
  }
  respond(): void {
    throw new Error('the bridge ends calls through its outcome');
  }
}

export class FakeOutcome implements Outcome {
  readonly ends: (Json | TollgateError)[] = [];
  responded(message: Message): void {
    this.ends.push(message.object());
  }
  failed(error: TollgateError): void {
    this.ends.push(error);
  }
  get result(): Json {
    const [end] = this.ends;
    if (this.ends.length !== 1 || end === undefined || TollgateError.is(end)) {
      throw new Error(`expected one answer, got ${JSON.stringify(this.ends.map(String))}`);
    }
    return end['result'] as Json;
  }
  get error(): TollgateError {
    const [end] = this.ends;
    if (this.ends.length !== 1 || !TollgateError.is(end))
      throw new Error(`expected one error, got ${JSON.stringify(this.ends)}`);
    return end;
  }
}

export interface Sent {
  readonly request: OutboundRequest;
  readonly handler: ReplyHandler;
  /** The request as an object. */
  readonly body: { readonly method: string; readonly params: Json };
}

export class FakeConnection implements Connection {
  readonly era: Era;
  readonly version: string;
  readonly capabilities = {};
  readonly serverInfo = { name: 'fake', version: '1' };
  readonly instructions = undefined;
  readonly pending = 0;
  readonly sent: Sent[] = [];
  constructor(era: Era) {
    this.era = era;
    this.version = era === 'modern' ? '2026-07-28' : '2025-11-25';
  }
  request(request: OutboundRequest, handler: ReplyHandler): void {
    this.sent.push({ request, handler, body: request.message.object() as unknown as Sent['body'] });
  }
  notify(): void {}
  last(): Sent {
    const sent = this.sent.at(-1);
    if (sent === undefined) throw new Error('nothing was sent');
    return sent;
  }
  answer(result: Json): void {
    this.last().handler.onResponse(encode({ jsonrpc: '2.0', id: 7, result }));
  }
  answerError(error: Json): void {
    this.last().handler.onResponse(encode({ jsonrpc: '2.0', id: 7, error }));
  }
  /** A request of the server during the last call; gives what it was answered. */
  ask(method: string, params: Json): { answers: (Json | TollgateError)[]; message: Message } {
    const message = encode({ jsonrpc: '2.0', id: 's1', method, params });
    const answers: (Json | TollgateError)[] = [];
    this.last().handler.onServerRequest(message, (answer) => {
      answers.push(TollgateError.is(answer) ? answer : (answer.object() as Json));
    });
    return { answers, message };
  }
}

export function legacySession(capabilities: Json, over: Partial<ClientSession> = {}): ClientSession {
  return {
    id: 'session',
    key: 1,
    era: 'legacy',
    principal: ada,
    endpoint: '/mcp',
    version: '2025-11-25',
    clientInfo: { name: 'host', version: '2' },
    capabilities,
    logLevel: undefined,
    lifetime: new Lifetime(),
    notify: () => true,
    ask: () => undefined,
    ...over,
  };
}

export function fakeCall(
  era: Era,
  method: string,
  params: Json,
  over: { session?: ClientSession; principal?: Principal; reply?: Reply; version?: string } = {},
): Call {
  return new Call({
    message: encode({ jsonrpc: '2.0', id: 1, method, params }),
    era,
    version: over.version ?? (era === 'modern' ? '2026-07-28' : '2025-11-25'),
    endpoint: '/mcp',
    principal: over.principal ?? ada,
    session: over.session,
    transport: 'http',
    lifetime: new Lifetime(),
    reply: over.reply ?? new FakeReply(),
    paramHeaders: undefined,
    startedAt: 0,
  });
}
