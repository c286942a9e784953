import { describe, expect, it, vi } from 'vitest';
import { classify, redactor, sentError } from './failure.ts';
import { loadPg } from './postgres.ts';

describe('PostgreSQL as the storage', () => {
  it('names what to install when the driver is missing', async () => {
    vi.doMock('pg', () => {
      throw new Error("Cannot find package 'pg'");
    });
    await expect(loadPg()).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining('npm install pg'),
    });
    vi.doUnmock('pg');
  });

  it.each([
    'postgres://ada:s3cret%40x@db.example/gate',
    'postgres://ada:s3cret@x@db.example/gate',
    'postgres://db.example/gate?user=ada&password=s3cret%40x',
  ])('never repeats the password of %s', (url) => {
    const redact = redactor({ kind: 'postgres', url, poolMax: 2, connectTimeoutMs: 1, statementTimeoutMs: 1 });
    const error = new Error(`connect to ${url} failed: s3cret@x or s3cret%40x is wrong`);
    const sent = sentError(Object.assign(error, { code: 'ECONNREFUSED' }), redact);
    expect(sent.code).toBe('storage_unavailable');
    expect(JSON.stringify(sent)).not.toContain('s3cret');
  });

  it.each([
    ['08006', 'again'],
    ['40001', 'again'],
    ['40P01', 'again'],
    ['57P01', 'again'],
    ['ECONNRESET', 'again'],
    ['EPIPE', 'again'],
    ['25006', 'unavailable'],
    ['28P01', 'unavailable'],
    ['53100', 'unavailable'],
    ['57014', 'unavailable'],
    ['23505', 'other'],
    ['42P01', 'other'],
  ])('meets the error %s as %s', (code, failure) => {
    expect(classify(Object.assign(new Error('x'), { code }))).toBe(failure);
  });
});
