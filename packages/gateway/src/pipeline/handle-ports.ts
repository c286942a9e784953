import type { AppliedChanges } from '../config/diff.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { GatewayAdministration } from './gateway-administration.ts';
import type { OperationsPort } from './operations-port.ts';
import type { PortDeps } from './ports.ts';
import type { StatusReport } from './status-report.ts';

/** What surfaces of a gateway are made of, whoever holds it. */
export interface SurfacePorts extends PortDeps {
  readonly log: Log;
  readonly administration: GatewayAdministration;
  readonly operations: OperationsPort;
  readonly status: () => StatusReport;
  /** Reads the configuration again and applies it. Rejects with every mistake and keeps the old one. */
  readonly reload: () => Promise<AppliedChanges>;
}

/** Ports of the gateways of this process, kept beside them: they are no part of the library's handle. */
const ports = new WeakMap<object, SurfacePorts>();

/** Makes what is in a gateway reachable by its handle. */
export function attachPorts(handle: object, own: SurfacePorts): void {
  ports.set(handle, own);
}

/** The ports of a gateway that `createGateway` made. Throws `usage` for anything else; `asker` needs it. */
export function portsOf(handle: object, asker: string): SurfacePorts {
  const own = ports.get(handle);
  if (own === undefined) throw new TollgateError('usage', `${asker} needs a gateway that createGateway made.`);
  return own;
}
