/** An exchange that hands everything to a sink, with an idle timeout that can be suspended while the server waits. */
import type { Dispatcher } from 'undici';
import type { TollgateError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import type { SseEvent } from '../protocol/sse.ts';
import type { HttpClient, Lane } from './http-client.ts';
import { HttpExchange, isEventStream } from './http-exchange.ts';
import { type ResponseHeaders, stalled } from './http-failure.ts';

/** As the methods of HttpExchange. Nothing is called after `onFailure`, or after the sink ended the exchange. */
export interface StreamSink {
  onHead(exchange: StreamExchange): TollgateError | undefined;
  onBody(exchange: StreamExchange, body: Buffer): void;
  onEvent(event: SseEvent, exchange: StreamExchange): void;
  onStreamEnd(): void;
  onFailure(error: TollgateError): void;
}

export class StreamExchange extends HttpExchange {
  readonly #sink: StreamSink;
  readonly #idleMs: number;
  #idle: NodeJS.Timeout | undefined;

  /** `idleMs`: longest silence of the answer; 0 for no limit. `principal`: whose session it is; undefined: shared. */
  constructor(http: HttpClient, sink: StreamSink, idleMs: number, principal: Principal | undefined) {
    super(http, principal);
    this.#sink = sink;
    this.#idleMs = idleMs;
  }

  get isStream(): boolean {
    return isEventStream(this.headers);
  }

  send(request: Dispatcher.DispatchOptions, lane: Lane): void {
    this.launch(request, lane);
  }

  override onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: ResponseHeaders): void {
    super.onResponseStart(controller, status, headers);
    if (this.status !== 0) this.#armIdle();
  }

  override onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#idle === undefined) this.#armIdle();
    else this.#idle.refresh();
    super.onResponseData(controller, chunk);
  }

  protected override onLeave(): void {
    this.suspendIdle();
  }

  protected override onHead(): TollgateError | undefined {
    return this.#sink.onHead(this);
  }

  protected override onBody(body: Buffer): void {
    this.#sink.onBody(this, body);
    this.finish();
  }

  protected override onEvent(event: SseEvent): void {
    this.#sink.onEvent(event, this);
  }

  protected override onStreamEnd(): void {
    this.finish();
    this.#sink.onStreamEnd();
  }

  protected override onFailure(error: TollgateError): void {
    this.#sink.onFailure(error);
  }

  #armIdle(): void {
    if (this.over || this.#idleMs === 0) return;
    this.#idle = setTimeout(() => this.fail(stalled(this.http.name, this.#idleMs)), this.#idleMs);
  }

  /** No idle timeout until the server says something again. */
  suspendIdle(): void {
    clearTimeout(this.#idle);
    this.#idle = undefined;
  }
}
