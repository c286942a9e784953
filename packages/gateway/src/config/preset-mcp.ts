/**
 * The tables of `preset: mcp`: requirements R0-02 to R0-18, as they would be written in `tollgate.yaml`. Data only;
 * amounts have no unit here, they are in the `currency` of the configuration.
 */

/** Numbers of the tier `basic`, which is the `default` row. A burst is the tier's allowance for spikes (R0-05, R0-08). */
export const MCP_LIMITS = {
  tools_call: { on: ['tools/call'], limit: '30/min', burst: 10 },
  resources_read: { on: ['resources/read'], limit: '60/min', burst: 10 },
  prompts_get: { on: ['prompts/get'], limit: '20/min', burst: 10 },
  // The name of the requirement, beside the methods of both eras that it stands for (C-12).
  server_initialize: { on: ['initialize', 'server/discover', 'server/initialize'], limit: '10/min' },
  server_ping: { on: ['ping', 'server/ping'], limit: '1000/min' },
  /** Every other request of a client but lists, which cost nothing, and listen, which lasts. */
  unknown: {
    on: [
      'completion/complete',
      'resources/subscribe',
      'resources/unsubscribe',
      'logging/setLevel',
      'tasks/get',
      'tasks/update',
      'tasks/cancel',
      'skills/get',
      'resources/directory/read',
      'unknown',
    ],
    limit: '30/min',
  },
} as const;

/** Per principal (R0-20); hours and days are those of UTC (X0-04). */
export const MCP_COSTS = {
  cost_per_request: { amount: '1', per: 'call' },
  cost_hourly: { amount: '50', per: 'h' },
  cost_daily: { amount: '500', per: 'day' },
} as const;

/** Of everybody together, until an admin resets it (R0-18, C-07). */
export const MCP_EMERGENCY_STOP = '1000';

export const MCP_TIERS = {
  standard: {
    tools_call: { limit: '150/min', burst: 50 },
    resources_read: { limit: '300/min', burst: 50 },
    prompts_get: { limit: '100/min', burst: 50 },
    cost_per_request: '5',
    cost_hourly: '200',
    cost_daily: '2000',
  },
  premium: {
    tools_call: { limit: '500/min', burst: 200 },
    resources_read: { limit: '1000/min', burst: 200 },
    prompts_get: { limit: '300/min', burst: 200 },
    cost_per_request: '25',
    cost_hourly: '800',
    cost_daily: '8000',
  },
} as const;
