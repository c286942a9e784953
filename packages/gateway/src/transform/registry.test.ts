import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import type { Call } from '../protocol/call.ts';
import { TransformRegistry, type TransformVerdict } from './registry.ts';

const CALL = { canonicalId: 's/t' } as Call;

function refused(verdict: TransformVerdict | undefined): TollgateError {
  if (verdict?.kind !== 'refused') throw new Error('expected a refusal');
  return verdict.error;
}

describe('transformers', () => {
  it('costs nothing where none is registered', () => {
    expect(new TransformRegistry().compose()).toEqual({ request: undefined, response: undefined });
  });

  it('run by name in the order of registration, on requests and on responses', () => {
    verifies('R1-35');
    const registry = new TransformRegistry()
      .addRequest('tag', (call, args) => ({ ...args, tool: call.canonicalId }))
      .addRequest('look', (_call, args) => {
        expect(args['tool']).toBe('s/t');
      })
      .addRequest('twice', (_call, args) => ({ ...args, n: (args['n'] as number) * 2 }))
      .addResponse('mark', (_call, result) => {
        result['marked'] = true;
        return result;
      });
    expect(registry.names).toEqual({ request: ['tag', 'look', 'twice'], response: ['mark'] });
    const { request, response } = registry.compose();
    expect(request?.(CALL, { n: 2 })).toEqual({ kind: 'changed', value: { n: 4, tool: 's/t' } });
    expect(response?.(CALL, { content: [] })).toEqual({ kind: 'changed', value: { content: [], marked: true } });
  });

  it('leave a message alone when they return nothing', () => {
    const { request } = new TransformRegistry().addRequest('look', () => {}).compose();
    expect(request?.(CALL, {})).toEqual({ kind: 'unchanged' });
  });

  it('may refuse with an error of their own, and the rest does not run', () => {
    let ran = false;
    const denied = new TollgateError('access_denied', 'No such folder.');
    const { request } = new TransformRegistry()
      .addRequest('guard', () => {
        throw denied;
      })
      .addRequest('after', () => {
        ran = true;
      })
      .compose();
    expect(refused(request?.(CALL, {}))).toBe(denied);
    expect(ran).toBe(false);
  });

  it('tell the truth about a call that ran, whatever the error of a response transformer says', () => {
    const { response } = new TransformRegistry()
      .addResponse('guard', () => {
        throw new TollgateError('access_denied', 'Withheld.', { data: { why: 1 } });
      })
      .compose();
    expect(refused(response?.(CALL, {}))).toMatchObject({
      code: 'access_denied',
      message: 'Withheld.',
      data: { why: 1 },
      executed: 'yes',
    });
  });

  it('fail closed and masked: on a throw, a promise, or anything that is not an object', async () => {
    const results: unknown[] = [null, [], 'text', true, Promise.resolve({}), Promise.reject(new Error('late'))];
    for (const result of results) {
      const { request } = new TransformRegistry().addRequest('bad', () => result as Record<string, unknown>).compose();
      expect(refused(request?.(CALL, {}))).toMatchObject({ code: 'internal', message: 'Internal error' });
    }
    const { request, response } = new TransformRegistry()
      .addRequest('bad', () => JSON.parse('{secret') as Record<string, unknown>)
      .addResponse('bad', () => {
        throw new Error('secret');
      })
      .compose();
    const error = refused(request?.(CALL, {}));
    expect(error).toMatchObject({ code: 'internal', message: 'Internal error', executed: 'no' });
    expect((error.cause as Error).message).toBe('transformer bad failed');
    expect(refused(response?.(CALL, {}))).toMatchObject({ message: 'Internal error', executed: 'yes' });
    // The rejected promise above would have failed the run by now.
    await new Promise((resolve) => setImmediate(resolve));
  });

  it('refuse a second of the same name, and do not change a chain in use', () => {
    const registry = new TransformRegistry().addRequest('one', () => ({ one: true }));
    const { request } = registry.compose();
    expect(() => registry.addRequest('one', () => {})).toThrow(/already called one/);
    registry.addRequest('two', () => ({ two: true }));
    expect(request?.(CALL, {})).toEqual({ kind: 'changed', value: { one: true } });
    expect(() => registry.addResponse('x', undefined as never)).toThrow(TypeError);
  });
});
