import type { TollgateError } from '../../core/errors.ts';
import type { Message } from '../message.ts';

/** How a call ends, told to the pipeline exactly once. */
export interface Outcome {
  /** A `result` or `error` message for the caller, in the caller's era; its id is replaced on the way out. */
  responded(message: Message): void;
  failed(error: TollgateError): void;
}

/** Where the pipeline has decided to send a call; see `OutboundRequest`. */
export interface Destination {
  readonly target: string | undefined;
  readonly headerName: string | undefined;
  readonly paramHeaders: readonly (readonly [string, string])[] | undefined;
}
