/** What a gateway serves over HTTP beside MCP: for operators on the `admin` address, for users on that of the endpoints. */
import type { Mount } from '../inbound/beside.ts';
import type { SurfacePorts } from '../pipeline/handle-ports.ts';
import { doubtOfPrincipal } from '../pipeline/name-doubts.ts';
import { keyAdministrationOf, userPortOf } from '../pipeline/ports.ts';
import { VaultAdministration } from '../pipeline/vault-administration.ts';
import type { Identified } from '../protocol/call.ts';
import { type ControlDeps, type ControlPort, createControlApi } from './control.ts';
import { createMetricsPage } from './metrics.ts';
import { Operations } from './operations/operations.ts';
import { createUserApi, isUserPath } from './user/user-api.ts';
import { createV1, isV1Path } from './v1.ts';

/** The control API of a gateway, to be asked by whoever is told apart by `identify`. */
export function controlDeps(ports: SurfacePorts, identify: ControlDeps['identify']): ControlDeps {
  const { gateway, state, administration, status, reload, log } = ports;
  const port: ControlPort = {
    status,
    watchCalls: (listener) => gateway().calls.watch(listener),
    watchRefusedCallers: (listener) => gateway().calls.callers.watch(listener),
    reload,
    decisions: state.decisions,
    administration,
    keys: keyAdministrationOf(ports),
    trust: state.trust,
    signIns: {
      list: (principal) => gateway().bridge.signIns(principal),
      end: async (principal, by) => {
        const ended = await gateway().bridge.endSignIns(principal);
        await state.books.record(by, 'sign_ins_ended', { principal, ended });
        return ended;
      },
    },
    vault: new VaultAdministration(state.vault, (id) =>
      doubtOfPrincipal(id, gateway().generation.config.identity, state.books.tiers, state.keys),
    ),
  };
  return { log, identify, port };
}

/** Control API, `/v1` and `/metrics`. */
export function adminSurface(
  ports: SurfacePorts,
  identify: (authorization: string | undefined) => Identified | Promise<Identified>,
): Mount {
  const control = createControlApi(controlDeps(ports, identify));
  const v1 = createV1({ log: ports.log, identify, operations: new Operations(ports.operations) });
  const { metrics: numbers } = ports.state;
  const metrics = createMetricsPage({
    identify,
    page: () => ({ text: numbers.text(), type: numbers.contentType }),
  });
  return (request, response, path) => {
    if (path === '/metrics') metrics(request, response);
    else if (isV1Path(path)) v1(request, response);
    else if (path === '/api/v1' || path.startsWith('/api/v1/')) control(request, response);
    else return false;
    return true;
  };
}

/** The user API. */
export function userSurface(ports: SurfacePorts): Mount {
  const user = createUserApi(userPortOf(ports), ports.log);
  return (request, response, path, { address }) => {
    if (!isUserPath(path)) return false;
    user(request, response, address);
    return true;
  };
}
