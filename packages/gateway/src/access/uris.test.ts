import { describe, expect, it } from 'vitest';
import { isPlainUri } from './uris.ts';

describe('a URI that rules may be asked about', () => {
  it.each([
    'files:///public/../private/key',
    'files:///public/..',
    'files:///public/..?x',
    'files:///public\\..\\private',
    'files:///public/%2e%2e/private',
    'files:///public/.%2E/private',
    'files:///public%2f..%2fprivate',
    'files:///public%5C..%5Cprivate',
    'files:///public/%252e%252e/private',
    'files:///public%252f..%252fprivate',
    'files:///%70rivate/key',
    'files:///%5fprivate/key',
    'files:///get?path=../private',
    'files:..',
  ])('is not one that means another place: %s', (uri) => {
    expect(isPlainUri(uri)).toBe(false);
  });

  it.each([
    'files:///public/a..b/..c/d../e.txt',
    'files:///public/...',
    'files:///public/a%20b%2Fc%25%3F',
    'repo://owner%2Fname/./x',
    'fetch://https://example.com/a?b=c',
    'x:ä/ö',
  ])('is any other: %s', (uri) => {
    expect(isPlainUri(uri)).toBe(true);
  });
});
