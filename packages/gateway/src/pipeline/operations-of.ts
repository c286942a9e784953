import { TollgateError } from '../core/errors.ts';
import type { OperationsPort } from './operations-port.ts';

/** Ports of the gateways of this process, kept beside them: they are no part of the library's handle. */
const ports = new WeakMap<object, OperationsPort>();

/** Makes the operations of a gateway reachable by its handle. */
export function attachOperations(handle: object, port: OperationsPort): void {
  ports.set(handle, port);
}

/** The port of a gateway that `createGateway` made. Throws `usage` for anything else. */
export function operationsPortOf(handle: object): OperationsPort {
  const port = ports.get(handle);
  if (port === undefined) throw new TollgateError('usage', 'createOperations needs a gateway that createGateway made.');
  return port;
}
