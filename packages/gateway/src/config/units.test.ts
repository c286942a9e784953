import { describe, expect, it } from 'vitest';
import {
  formatDuration,
  formatListen,
  formatSize,
  isLoopback,
  isWildcard,
  parseDuration,
  parseListen,
  parseSize,
  parseSpan,
} from './units.ts';

describe('units', () => {
  it('are read', () => {
    expect(['1ms', '1.5s', '2m', '3h', '1d'].map(parseDuration)).toEqual([1, 1500, 120_000, 10_800_000, 86_400_000]);
    expect(['1B', '1KB', '1KiB', '1.5MiB', '1GiB'].map(parseSize)).toEqual([1, 1000, 1024, 1_572_864, 1_073_741_824]);
    expect(['127.0.0.1:0', 'LocalHost:80', '[::1]:7117'].map(parseListen)).toEqual([
      { host: '127.0.0.1', port: 0 },
      { host: 'localhost', port: 80 },
      { host: '::1', port: 7117 },
    ]);
  });

  it('of a life are longer than those that a timer waits for', () => {
    expect(['90d', '366d'].map(parseSpan)).toEqual([90 * 86_400_000, 366 * 86_400_000]);
    expect(() => parseSpan('367d')).toThrow('is too long');
    expect(() => parseDuration('90d')).toThrow('is too long');
  });

  it.each(['', '5', 's', '-1s', '1 s', '1e3s', '0ms', '25d', '1y', '1sec'])('refuses the duration %j', (text) => {
    expect(() => parseDuration(text)).toThrow();
  });

  it.each(['', '4', '4M', '4 MiB', '-1B', '0B', '4GiB'])('refuses the size %j', (text) => {
    expect(() => parseSize(text)).toThrow();
  });

  it.each([
    '',
    ':80',
    '80',
    'a:b',
    'http://a:80',
    '::1:80',
    '[a]:80',
    '1.2.3:80',
    'a b:80',
    'a:99999',
  ])('refuses the address %j', (text) => {
    expect(() => parseListen(text)).toThrow();
  });

  it('are written as they were read', () => {
    for (const text of ['1ms', '90s', '2m', '3h', '1d']) expect(formatDuration(parseDuration(text))).toBe(text);
    for (const text of ['1B', '3KiB', '4MiB', '1GiB', '1001B']) expect(formatSize(parseSize(text))).toBe(text);
    for (const text of ['127.0.0.1:1', '[::1]:2']) expect(formatListen(parseListen(text))).toBe(text);
  });

  it('know what only this machine can reach', () => {
    for (const host of ['localhost', '127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1'])
      expect(isLoopback(host), host).toBe(true);
    for (const host of ['0.0.0.0', '::', '10.0.0.1', 'localhost.example', '127.0.0.1.example', ''])
      expect(isLoopback(host), host).toBe(false);
    for (const host of ['0.0.0.0', '::', '0:0:0:0:0:0:0:0']) expect(isWildcard(host), host).toBe(true);
    expect(isWildcard('10.0.0.1')).toBe(false);
  });
});
