import { describe, expect, it } from 'vitest';
import { CAPABILITY_SETS, capabilitiesOf, capabilitySet, missingCapability } from './client-requests.ts';

/** What one request declared, and what a legacy server is told of it. */
const TOLD: readonly (readonly [declared: unknown, told: unknown])[] = [
  [undefined, {}],
  ['roots', {}],
  [{}, {}],
  [{ extensions: { 'io.modelcontextprotocol/tasks': {} }, experimental: { x: {} } }, {}],
  [{ roots: {} }, { roots: {} }],
  [{ roots: { listChanged: true } }, { roots: {} }],
  [{ roots: null, sampling: true }, {}],
  [{ sampling: {} }, { sampling: {} }],
  [{ sampling: { tools: {}, context: {} } }, { sampling: { tools: {}, context: {} } }],
  [{ elicitation: {} }, { elicitation: { form: {} } }],
  [{ elicitation: { form: {} } }, { elicitation: { form: {} } }],
  [{ elicitation: { url: {} } }, { elicitation: { url: {} } }],
  [
    { elicitation: { form: {}, url: {} }, sampling: { tools: {} }, roots: {} },
    { roots: {}, sampling: { tools: {} }, elicitation: { form: {}, url: {} } },
  ],
];

const REQUESTS: readonly (readonly [method: string, params: Record<string, unknown>])[] = [
  ['roots/list', {}],
  ['sampling/createMessage', {}],
  ['sampling/createMessage', { tools: [] }],
  ['elicitation/create', {}],
  ['elicitation/create', { mode: 'form' }],
  ['elicitation/create', { mode: 'url' }],
];

describe('capabilities of a modern request for a legacy server', () => {
  it.each(TOLD)('%j is told as %j', (declared, told) => {
    const set = capabilitySet(declared);
    expect(set).toBeLessThan(CAPABILITY_SETS);
    expect(capabilitiesOf(set)).toEqual(told);
    expect(capabilitySet(capabilitiesOf(set))).toBe(set);
  });

  it('lets a server ask exactly what the client can be asked', () => {
    for (const [declared] of TOLD) {
      const own = typeof declared === 'object' ? (declared as Record<string, unknown>) : {};
      const told = capabilitiesOf(capabilitySet(declared));
      for (const [method, params] of REQUESTS) {
        expect(missingCapability(method, params, told) === undefined, `${method} ${JSON.stringify(declared)}`).toBe(
          missingCapability(method, params, own) === undefined,
        );
      }
    }
  });
});
