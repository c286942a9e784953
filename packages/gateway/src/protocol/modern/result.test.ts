import { describe, expect, it } from 'vitest';
import { parseLossless } from '../json/lossless.ts';
import { legacyResult } from '../legacy/result.ts';
import { modernResult } from './result.ts';

const INFO = 'io.modelcontextprotocol/serverInfo';

describe('modernResult', () => {
  it('completes a tool result and keeps what it does not know', () => {
    const result = parseLossless('{"content":[],"n":12345678901234567890,"x":{"y":1.0}}', true);
    expect(JSON.stringify(modernResult('tools/call', result as Record<string, unknown>))).toBe(
      '{"content":[],"n":12345678901234567890,"x":{"y":1.0},"resultType":"complete"}',
    );
  });

  it('gives lists and resources a lifetime and a scope', () => {
    expect(modernResult('resources/read', { contents: [] })).toEqual({
      contents: [],
      resultType: 'complete',
      ttlMs: 0,
      cacheScope: 'private',
    });
    expect(modernResult('tools/list', { tools: [], ttlMs: 5, cacheScope: 'public' })).toMatchObject({
      ttlMs: 5,
      cacheScope: 'public',
    });
    expect(modernResult('tools/list', { tools: [], ttlMs: -1, cacheScope: 'all' })).toMatchObject({
      ttlMs: 0,
      cacheScope: 'private',
    });
  });

  it('does not let a legacy server name another result type', () => {
    expect(modernResult('tools/call', { resultType: 'input_required', content: [] })['resultType']).toBe('complete');
  });

  it('adds the server unless it named itself', () => {
    expect(modernResult('tools/call', { _meta: { a: 1 } }, { name: 's' })['_meta']).toEqual({
      a: 1,
      [INFO]: { name: 's' },
    });
    expect(modernResult('tools/call', { _meta: { [INFO]: 1 } }, { name: 's' })['_meta']).toEqual({ [INFO]: 1 });
    expect(modernResult('tools/call', { _meta: null }, { name: 's' })['_meta']).toEqual({ [INFO]: { name: 's' } });
  });

  it('does not change its argument', () => {
    const result = Object.freeze({ content: [] });
    modernResult('tools/call', result, {});
    legacyResult(result);
  });
});

describe('legacyResult', () => {
  it('takes off what only the modern revision has', () => {
    const modern = { resultType: 'complete', ttlMs: 1, cacheScope: 'public', tools: [], _meta: { [INFO]: {}, a: 1 } };
    expect(legacyResult(modern)).toEqual({ tools: [], _meta: { a: 1 } });
    expect(legacyResult({ resultType: 'complete', _meta: { [INFO]: {} } })).toEqual({});
  });

  it('keeps structured content that is an object, also from a modern result', () => {
    const result = modernResult('tools/call', { content: [], structuredContent: { a: 1 }, isError: true });
    expect(legacyResult(result)).toEqual({ content: [], structuredContent: { a: 1 }, isError: true });
  });

  it('writes other structured content as text when there is no content', () => {
    expect(legacyResult({ content: [], structuredContent: [1, 'a'] })).toEqual({
      content: [{ type: 'text', text: '[1,"a"]' }],
    });
    const content = [{ type: 'text', text: 'x' }];
    expect(legacyResult({ content, structuredContent: 7 })).toEqual({ content });
  });
});
