import { describe, expect, it } from 'vitest';
import { ada, fakeCall } from '../protocol/bridge/testing.ts';
import type { Call } from '../protocol/call.ts';
import { encode } from '../protocol/json/splice.ts';
import type { Server } from '../protocol/peer.ts';
import { TaskOwners } from './task-owners.ts';

const server = { name: 's' } as Server;
const eve = { ...ada, id: 'test/eve', key: 2 };

function about(taskId: string, principal = ada): Call {
  const _meta = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28' };
  return fakeCall('modern', 'tasks/get', { taskId, _meta }, { principal });
}

function given(owners: TaskOwners, taskId: string, principal = ada): void {
  const call = fakeCall('modern', 'tools/call', { name: 't' }, { principal });
  call.server = 's';
  owners.remember(call, encode({ jsonrpc: '2.0', id: 1, result: { resultType: 'task', taskId } }));
}

describe('tasks', () => {
  const make = () => new TaskOwners(() => new Map([['s', server]]));

  it('belong to the caller they were given to; another cannot take one over', () => {
    const owners = make();
    given(owners, 'a');
    given(owners, 'a', eve);
    expect(owners.serverOf(about('a'))).toBe(server);
    expect(() => owners.serverOf(about('a', eve))).toThrow('Unknown task');
  });

  it('of one caller do not push out those of another', () => {
    const owners = make();
    given(owners, 'first');
    for (let i = 0; i < 12_000; i++) given(owners, `e${i}`, eve);
    expect(owners.serverOf(about('first'))).toBe(server);
    expect(owners.serverOf(about('e11999', eve))).toBe(server);
    expect(() => owners.serverOf(about('e0', eve))).toThrow('Unknown task');
  });

  it('with an id of any size cost no memory', () => {
    const owners = make();
    const long = 'x'.repeat(1025);
    given(owners, long);
    expect(() => owners.serverOf(about(long))).toThrow('Unknown task');
  });
});
