/** Every way into the admin surfaces with the right it needs: for `docs/access-matrix.md` and for the test of all of them. */
import type { RightName } from '../access/rights.ts';
import { silentLog } from '../core/log.ts';
import type { OperationsPort } from '../pipeline/operations-port.ts';
import { type ControlPort, controlApp } from './control.ts';
import { Operations } from './operations/operations.ts';
import { standardOperations } from './operations/standard.ts';
import { type UserPort, userApp } from './user/user-api.ts';
import { v1App } from './v1.ts';

export interface Way {
  readonly transport: 'control API' | '/v1' | 'user API' | 'metrics' | 'operations';
  /** `GET /api/v1/status`, or the name of an operation. */
  readonly name: string;
  readonly right: RightName;
}

/** All of them, in the order in which they are registered. Opens nothing. */
export function ways(): readonly Way[] {
  const identify = () => {
    throw new Error('nobody asks an inventory');
  };
  const control = controlApp({
    log: silentLog,
    identify,
    port: { administration: {}, decisions: {}, keys: {}, signIns: {}, trust: {}, vault: {} } as unknown as ControlPort,
  });
  const v1 = v1App({ log: silentLog, identify, operations: new Operations({} as OperationsPort) });
  const user = userApp({} as UserPort, silentLog, new WeakMap());
  return [
    ...control.routes.map(({ method, path, right }): Way => {
      return { transport: 'control API', name: `${method.toUpperCase()} /api/v1${path}`, right };
    }),
    ...v1.routes.map(({ method, path, right }): Way => {
      return { transport: '/v1', name: `${method.toUpperCase()} /v1${path}`, right };
    }),
    ...user.routes.map(({ method, path, right }): Way => {
      return { transport: 'user API', name: `${method.toUpperCase()} ${path}`, right };
    }),
    { transport: 'metrics', name: 'GET /metrics', right: 'metrics.read' },
    ...standardOperations().map(
      ({ name }): Way => ({ transport: 'operations', name, right: `op.${name}` as RightName }),
    ),
  ];
}
