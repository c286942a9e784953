/**
 * A connection to a modern (2026-07-28) server over a link that all requests share, in practice a child's pipes.
 * The server is stateless, so one connection serves every caller.
 */
import { TollgateError } from '../core/errors.ts';
import { Field, type Message } from '../protocol/message.ts';
import { methodInfo } from '../protocol/methods.ts';
import type { Connection, OutboundRequest, ReplyHandler, ServerEvent } from '../protocol/peer.ts';
import type { ModernServerInfo } from './discover.ts';
import type { Multiplexer, MultiplexerEvents } from './multiplexer.ts';

export interface ModernMultiplexOptions {
  readonly emit: (event: ServerEvent) => void;
  /** Called once when the link is gone. */
  readonly onClosed: (error: TollgateError) => void;
}

export class ModernMultiplex implements Connection, MultiplexerEvents {
  readonly era = 'modern';
  readonly version: string;
  readonly capabilities: Readonly<Record<string, unknown>>;
  readonly serverInfo: unknown;
  readonly instructions: string | undefined;
  readonly multiplexer: Multiplexer;
  readonly #options: ModernMultiplexOptions;

  constructor(multiplexer: Multiplexer, info: ModernServerInfo, options: ModernMultiplexOptions) {
    this.multiplexer = multiplexer;
    this.version = info.version;
    this.capabilities = info.capabilities;
    this.serverInfo = info.serverInfo;
    this.instructions = info.instructions;
    this.#options = options;
    multiplexer.negotiated(info.version);
    multiplexer.attach(this);
  }

  get pending(): number {
    return this.multiplexer.pending;
  }

  request(request: OutboundRequest, handler: ReplyHandler): void {
    this.multiplexer.request(request, handler);
  }

  notify(method: string, params: string | undefined): void {
    this.multiplexer.notify(method, params);
  }

  onServerRequest(message: Message): void {
    const error = new TollgateError('method_not_found', `In ${this.version} a server sends no requests`);
    this.multiplexer.answer(message.raw(Field.id)!, error);
  }

  onServerRequestWithdrawn(): void {}

  /** What carries no subscription id: a log message of a call, or a list change of a server that forgot the id. */
  onServerNotification(message: Message, caller: ReplyHandler | undefined, certain: boolean): void {
    const { emit } = this.#options;
    if (message.method === 'notifications/resources/updated') {
      const uri = message.string(Field.uri);
      if (uri !== undefined) emit({ type: 'resource_updated', uri, message, connection: undefined });
      return;
    }
    const kind = methodInfo(message.method)?.list;
    if (kind !== undefined) emit({ type: 'list_changed', kind });
    else if (certain) caller?.onNotification(message);
    // With several calls in flight, or one just cancelled, nobody can tell whose log message it is, so nobody gets it.
  }

  onClosed(error: TollgateError): void {
    this.#options.onClosed(error);
  }
}
