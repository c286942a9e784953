import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import type { Identified } from '../protocol/call.ts';
import { head, legacyBody, modernPost, post, principalOf, type Rig, startEdge } from './fakes.ts';

let rig: Rig;
let asked: PromiseWithResolvers<Identified>[];

beforeEach(async () => {
  rig = await startEdge();
  asked = [];
  rig.face.identify = () => {
    asked.push(Promise.withResolvers<Identified>());
    return asked.at(-1)!.promise;
  };
});
afterEach(async () => await rig.stop());

const ADA = principalOf('ada', 9);
const asking = (count: number) => expect.poll(() => asked).toHaveLength(count);

describe('a caller who takes time to be recognised', () => {
  it('has its body read afterwards, whole, whenever it came', async () => {
    const client = await rig.open();
    const text = modernPost('tools/call', { name: 'x', arguments: { text: 'ä'.repeat(20_000) } });
    client.write(text.slice(0, 700));
    await asking(1);
    client.write(text.slice(700, 9000));
    expect(rig.mcp.calls).toEqual([]);
    asked[0]!.resolve(ADA);
    client.write(text.slice(9000));
    expect((await client.response()).status).toBe(200);
    expect(rig.mcp.calls[0]!.principal).toBe(ADA);
    // The connection goes on, also with the transport of 2024-11-05.
    client.write(head('GET', { Host: '127.0.0.1', Accept: 'text/event-stream' }, '/sse'));
    await asking(2);
    asked[1]!.resolve(ADA);
    await client.until((read) => read.includes('event: endpoint'));
  });

  it('is refused with what identity says, and meets the session guard like everybody', async () => {
    const client = await rig.open();
    client.write(modernPost('tools/list'));
    await asking(1);
    asked[0]!.resolve(new TollgateError('unauthorized', 'The credential was not accepted.'));
    expect((await client.response()).status).toBe(401);
    rig.face.guard = () => new TollgateError('rate_limited', 'Too many requests');
    client.write(modernPost('tools/list'));
    await asking(2);
    asked[1]!.resolve(ADA);
    expect((await client.response()).status).toBe(429);
    expect(rig.mcp.calls).toEqual([]);
  });

  it('who left meanwhile, or came before a shutdown, runs nothing', async () => {
    const gone = await rig.open();
    gone.write(modernPost('tools/list'));
    await asking(1);
    gone.socket.destroy();
    await expect.poll(() => rig.edge.view.connections).toBe(0);
    asked[0]!.resolve(ADA);
    const late = await rig.open();
    late.write(post('{}'));
    await asking(2);
    rig.face.draining = true;
    asked[1]!.resolve(ADA);
    expect((await late.response()).status).toBe(503);
    expect(rig.mcp.calls).toEqual([]);
  });
});

describe('a body that comes late', () => {
  it.each([
    '/mcp',
    '/messages/',
  ])('is of nobody whose credential was withdrawn since its head came, at %s', async (path) => {
    const client = await rig.open();
    const sse = await rig.open();
    sse.write(head('GET', { Host: '127.0.0.1', Accept: 'text/event-stream' }, '/sse'));
    await asking(1);
    asked[0]!.resolve(ADA);
    const id = /session_id=([a-z0-9]+)/.exec(await sse.until((read) => /session_id=[a-z0-9]+/.test(read)))![1];
    const text = path === '/mcp' ? modernPost('tools/list') : post(legacyBody('ping'), {}, `${path}?session_id=${id}`);
    client.write(text.slice(0, -20));
    await asking(2);
    asked[1]!.resolve(ADA);
    await expect.poll(() => rig.edge.view.connections).toBe(2);
    await new Promise((resolve) => setImmediate(resolve));
    rig.face.withdrawals++;
    client.write(text.slice(-20));
    await asking(3);
    asked[2]!.resolve(new TollgateError('unauthorized', 'The credential was not accepted.'));
    expect((await client.response()).status).toBe(401);
    expect(rig.mcp.calls).toEqual([]);
  });

  it('is of who is still let in, as before', async () => {
    const client = await rig.open();
    const text = modernPost('tools/list');
    client.write(text.slice(0, -20));
    await asking(1);
    asked[0]!.resolve(ADA);
    await new Promise((resolve) => setImmediate(resolve));
    rig.face.withdrawals++;
    client.write(text.slice(-20));
    await asking(2);
    const again = principalOf('ada', 9);
    asked[1]!.resolve(again);
    expect((await client.response()).status).toBe(200);
    expect(rig.mcp.calls[0]!.principal).toBe(again);
  });
});
