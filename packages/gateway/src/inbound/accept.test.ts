import { describe, expect, it } from 'vitest';
import { accepted } from './accept.ts';

const BOTH = { json: true, stream: true, streamFirst: false };
const STREAM_FIRST = { json: true, stream: true, streamFirst: true };
const JSON_ONLY = { json: true, stream: false, streamFirst: false };

describe('Accept', () => {
  it.each([
    [undefined, BOTH],
    ['application/json, text/event-stream', BOTH],
    ['application/json,text/event-stream', BOTH],
    ['*/*', BOTH],
    ['APPLICATION/JSON; charset=utf-8, Text/*', BOTH],
    ['text/event-stream, application/json', STREAM_FIRST],
    ['text/event-stream, */*', STREAM_FIRST],
    ['application/json;q=0.5, text/event-stream', STREAM_FIRST],
    ['text/event-stream;q=0.5, application/json', BOTH],
    ['text/event-stream;q=0.5, application/json;q=0.500', STREAM_FIRST],
    ['application/json', JSON_ONLY],
    ['application/json, text/event-stream;q=0', JSON_ONLY],
    ['application/json, text/event-stream;q=0.000', JSON_ONLY],
    ['text/event-stream', { json: false, stream: true, streamFirst: true }],
    ['application/json;q=0, text/event-stream', { json: false, stream: true, streamFirst: true }],
    ['application/json;q=nonsense, text/event-stream;q=2', BOTH],
    ['text/html', { json: false, stream: false, streamFirst: false }],
    ['', { json: false, stream: false, streamFirst: false }],
  ])('%j', (header, expected) => {
    expect(accepted(header)).toEqual(expected);
  });
});
