import { describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { Lifetime } from '../core/lifetime.ts';
import type { Principal } from '../core/principal.ts';
import { Call, type CallInit } from '../protocol/call.ts';
import { compileParamHeaders } from '../protocol/headers.ts';
import { DEFAULT_SCAN_CAPS, scan } from '../protocol/json/scan.ts';
import { Field } from '../protocol/message.ts';
import { type RequestTransformer, type ResponseTransformer, TransformRegistry } from '../transform/registry.ts';
import { destinationOf, type Target } from './targets.ts';
import { transformRequest, transformResponse } from './transforms.ts';

const PRINCIPAL = { id: 'ci/ada', key: 1 } as Principal;

function callOf(params: string, init: Partial<CallInit> = {}): Call {
  const text = `{"jsonrpc":"2.0", "id":1,"method":"tools/call","params":${params}}`;
  return new Call({
    message: scan(Buffer.from(text), DEFAULT_SCAN_CAPS),
    era: 'legacy',
    version: '2025-11-25',
    endpoint: '/mcp',
    principal: PRINCIPAL,
    session: undefined,
    transport: 'http',
    lifetime: new Lifetime(),
    reply: {} as CallInit['reply'],
    paramHeaders: undefined,
    startedAt: 0,
    ...init,
  });
}

function requestWith(transformer: RequestTransformer) {
  return new TransformRegistry().addRequest('t', transformer).compose().request!;
}

function responseWith(transformer: ResponseTransformer) {
  return new TransformRegistry().addResponse('t', transformer).compose().response!;
}

function caught(run: () => void): TollgateError {
  try {
    run();
  } catch (error) {
    if (TollgateError.is(error)) return error;
  }
  throw new Error('expected a TollgateError');
}

function sent(params: string, transformer: RequestTransformer): string | undefined {
  const call = callOf(params);
  transformRequest(call, requestWith(transformer));
  return call.outbound?.bytes.toString();
}

const answer = (result: string) => scan(Buffer.from(`{"jsonrpc":"2.0","id":7, "result":${result}}`), DEFAULT_SCAN_CAPS);

describe('transformRequest', () => {
  it('replaces the arguments and not one byte beside them', () => {
    const text = sent('{"name":"t" ,"arguments": {"a":1},"_meta":{"x": 1.0}}', (_call, args) => ({ ...args, b: 'ü' }));
    expect(text).toBe(
      '{"jsonrpc":"2.0", "id":1,"method":"tools/call","params":{"name":"t" ,"arguments": {"a":1,"b":"ü"},"_meta":{"x": 1.0}}}',
    );
  });

  it('sends the original where nothing is returned', () => {
    expect(sent('{"name":"t","arguments":{"a":1}}', () => {})).toBeUndefined();
  });

  it('gives arguments to a call that had none', () => {
    expect(sent('{"name":"t"}', () => ({ a: 1 }))).toContain('"params":{"arguments":{"a":1},"name":"t"}');
  });

  it('shows ordinary numbers, and keeps those that a double would change', () => {
    let seen: unknown;
    const text = sent(
      '{"name":"t","arguments":{"price":5.0,"big":1e3,"id":12345678901234567890,"tiny":1e-400}}',
      (_, args) => {
        seen = [args['price'], args['big'], typeof args['id']];
        return args;
      },
    );
    expect(seen).toEqual([5, 1000, 'object']);
    expect(text).toContain('{"price":5,"big":1000,"id":12345678901234567890,"tiny":1e-400}');
  });

  it('refuses arguments that are no object, so that no guard is passed by', () => {
    for (const value of ['[1]', '"text"', 'null', '1']) {
      const error = caught(() => sent(`{"name":"t","arguments":${value}}`, () => {}));
      expect(error.code).toBe('invalid_params');
    }
  });

  it('fails closed and masked when the new arguments cannot be sent', () => {
    const loop: Record<string, unknown> = {};
    loop['self'] = loop;
    for (const value of [loop, { big: 1n }, JSON.parse('{"__proto__":1}') as Record<string, unknown>]) {
      const error = caught(() => sent('{"name":"t","arguments":{}}', () => value));
      expect(error).toMatchObject({ code: 'internal', message: 'Internal error', executed: 'no' });
      expect(error.cause).toBeInstanceOf(Error);
    }
  });

  it('refuses with the error of the transformer, and gives every call an id', () => {
    const call = callOf('{"name":"t"}');
    let id: string | undefined;
    const chain = requestWith((seen) => {
      id = seen.decisionId;
      throw new TollgateError('access_denied', 'Not on Sundays.');
    });
    expect(caught(() => transformRequest(call, chain))).toMatchObject({ code: 'access_denied', executed: 'no' });
    expect(id).toMatch(/^tg-/);
    expect(call.decisionId).toBe(id);
  });

  it('sends the headers that mirror arguments as they are after the change', () => {
    const paramHeaders = compileParamHeaders({
      type: 'object',
      properties: { region: { type: 'string', 'x-mcp-header': 'Region' } },
    });
    const target = {
      entry: { paramHeaders },
      destination: { target: undefined, headerName: 't' },
    } as unknown as Target;
    const call = callOf('{"name":"t","arguments":{"region":"us"}}', {
      era: 'modern',
      paramHeaders: [['region', 'us']],
    });
    expect(destinationOf(call, target).paramHeaders).toEqual([['Mcp-Param-Region', 'us']]);
    transformRequest(
      call,
      requestWith(() => ({ region: 'eu' })),
    );
    expect(destinationOf(call, target).paramHeaders).toEqual([['Mcp-Param-Region', 'eu']]);
  });
});

describe('transformResponse', () => {
  const mark: ResponseTransformer = (_call, result) => ({ ...result, marked: true });

  it('replaces the result and nothing else; large numbers stay', () => {
    const shown = transformResponse(
      callOf('{"name":"t"}'),
      answer('{"content":[],"n":12345678901234567890}'),
      responseWith(mark),
    );
    expect(shown.bytes.toString()).toBe(
      '{"jsonrpc":"2.0","id":7, "result":{"content":[],"n":12345678901234567890,"marked":true}}',
    );
    expect(shown.raw(Field.id)).toBe('7');
  });

  it('runs on tool errors too, and not on errors of the protocol', () => {
    const call = callOf('{"name":"t"}');
    const failed = transformResponse(call, answer('{"content":[],"isError":true}'), responseWith(mark));
    expect(failed.json(Field.result)).toMatchObject({ isError: true, marked: true });
    const error = scan(
      Buffer.from('{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"no"}}'),
      DEFAULT_SCAN_CAPS,
    );
    expect(transformResponse(call, error, responseWith(mark))).toBe(error);
  });

  it('leaves questions and tasks of modern servers alone; a legacy server cannot call its result one', () => {
    const modern = callOf('{"name":"t"}', { era: 'modern' });
    for (const type of ['input_required', 'task']) {
      const response = answer(`{"resultType":"${type}"}`);
      expect(transformResponse(modern, response, responseWith(mark))).toBe(response);
      const shown = transformResponse(callOf('{"name":"t"}'), response, responseWith(mark));
      expect(shown.json(Field.result)).toMatchObject({ marked: true });
    }
    const other = transformResponse(modern, answer('{"resultType":"other"}'), responseWith(mark));
    expect(other.json(Field.result)).toMatchObject({ marked: true });
  });

  it('says that the call has run when it fails', () => {
    const chain = responseWith(() => {
      throw new Error('secret');
    });
    const error = caught(() => transformResponse(callOf('{"name":"t"}'), answer('{"content":[]}'), chain));
    expect(error).toMatchObject({ code: 'internal', message: 'Internal error', executed: 'yes' });
  });
});
