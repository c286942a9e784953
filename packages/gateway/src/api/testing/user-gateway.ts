import { compile } from '../../config/compile.ts';
import { loadConfigObject } from '../../config/load.ts';
import { type Clock, systemClock } from '../../core/clock.ts';
import { type Log, silentLog } from '../../core/log.ts';
import { userPortOf } from '../../pipeline/ports.ts';
import { GatewayState } from '../../pipeline/state.ts';
import { type Json, startGateway, type TestGateway } from '../../pipeline/testing.ts';
import { createUserApi, isUserPath } from '../user/user-api.ts';

export interface UserGateway extends AsyncDisposable {
  readonly gateway: TestGateway;
  readonly state: GatewayState;
}

/** A gateway with the user API beside its endpoints, on the storage in the `dataDir` of its configuration. */
export async function startUserGateway(
  config: Json & { readonly dataDir: string },
  { clock = systemClock, log = silentLog }: { readonly clock?: Clock; readonly log?: Log } = {},
): Promise<UserGateway> {
  const compiled = compile(loadConfigObject({ listen: '127.0.0.1:0', ...config }).config);
  const state = await GatewayState.open(compiled, { clock, log });
  let running: TestGateway | undefined;
  const api = createUserApi(userPortOf({ clock, state, gateway: () => running!.gateway }), log);
  const gateway = await startGateway(config, {
    state,
    log,
    clock,
    publicMount: (request, response, path, { address }) => {
      if (!isUserPath(path)) return false;
      api(request, response, address);
      return true;
    },
  });
  running = gateway;
  return {
    gateway,
    state,
    async [Symbol.asyncDispose]() {
      await gateway[Symbol.asyncDispose]();
      await state.close();
    },
  };
}
