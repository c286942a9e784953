import type { GatewayHandle } from '../../pipeline/create-gateway.ts';
import { portsOf } from '../../pipeline/handle-ports.ts';
import { Operations, type OperationsOptions } from './operations.ts';

/**
 * The operations of a gateway in this process, which asks them as admin: `process(ctx, cfg)` takes one operation or a
 * list. It needs no open port, and every gateway of one storage counts the same clients.
 */
export function createOperations(gateway: GatewayHandle, options: OperationsOptions = {}): Operations {
  return new Operations(portsOf(gateway, 'createOperations').operations, options);
}
