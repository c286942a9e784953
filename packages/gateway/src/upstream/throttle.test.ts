import { PassThrough } from 'node:stream';
import { createFakeClock } from '@tollgate/testkit/fake-clock';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Throttle } from './throttle.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it('lets a stream read what a second allows, and the rest when the second is over', () => {
  const clock = createFakeClock();
  const stream = new PassThrough().resume();
  const throttle = new Throttle(stream, clock, 100);
  throttle.spend(99);
  expect(stream.isPaused()).toBe(false);
  clock.advance(400);
  throttle.spend(1);
  expect(stream.isPaused()).toBe(true);
  // What one chunk still brings changes nothing.
  throttle.spend(1000);
  vi.advanceTimersByTime(599);
  expect(stream.isPaused()).toBe(true);
  clock.advance(600);
  vi.advanceTimersByTime(1);
  expect(stream.isPaused()).toBe(false);
  throttle.spend(99);
  expect(stream.isPaused()).toBe(false);
  throttle.spend(1);
  expect(stream.isPaused()).toBe(true);
});

it('never holds up a stream that takes its time', () => {
  const clock = createFakeClock();
  const stream = new PassThrough().resume();
  const throttle = new Throttle(stream, clock, 100);
  for (let i = 0; i < 1000; i++) {
    clock.advance(11);
    throttle.spend(1);
    expect(stream.isPaused()).toBe(false);
  }
});

it('holds nothing back once it is released', () => {
  const stream = new PassThrough().resume();
  const throttle = new Throttle(stream, createFakeClock(), 1);
  throttle.spend(1);
  expect(stream.isPaused()).toBe(true);
  throttle.release();
  expect(stream.isPaused()).toBe(false);
  throttle.spend(1_000_000);
  expect(stream.isPaused()).toBe(false);
});
