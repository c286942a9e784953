import { describe, expect, it } from 'vitest';
import { EVENT_CAPS, EventBudget, EventStore } from './event-store.ts';

function events(store: EventStore, lastEventId: string): string[] | undefined {
  const found = store.find(lastEventId);
  if (found === undefined) return undefined;
  const { stream, after } = found;
  return stream.events.slice(Math.max(0, after + 1 - stream.first)).map(String);
}

describe('EventStore', () => {
  it('gives what came after an event of the same stream', () => {
    const store = new EventStore(new EventBudget());
    const one = store.open();
    const two = store.open();
    for (const text of ['a', 'b', 'c']) store.append(one, Buffer.from(text));
    store.append(two, Buffer.from('z'));
    expect(events(store, one.id(1))).toEqual(['b', 'c']);
    expect(events(store, one.id(0))).toEqual(['a', 'b', 'c']);
    expect(events(store, two.id(1))).toEqual([]);
    expect(events(store, two.id(2))).toBeUndefined();
  });

  it('keeps the newest events of a stream, bounded by count', () => {
    const store = new EventStore(new EventBudget());
    const stream = store.open();
    for (let i = 1; i <= EVENT_CAPS.events + 10; i++) store.append(stream, Buffer.from(String(i)));
    expect(stream.events).toHaveLength(EVENT_CAPS.events);
    expect(events(store, stream.id(EVENT_CAPS.events + 9))).toEqual([String(EVENT_CAPS.events + 10)]);
  });

  it('is bounded by bytes over all streams of a session; the last event stays', () => {
    const store = new EventStore(new EventBudget());
    const old = store.open();
    const fresh = store.open();
    for (let i = 0; i < 3; i++) store.append(old, Buffer.alloc(1024 * 1024));
    for (let i = 0; i < 3; i++) store.append(fresh, Buffer.alloc(1024 * 1024));
    expect(store.bytes).toBeLessThanOrEqual(EVENT_CAPS.bytes);
    expect(fresh.events.length).toBeGreaterThan(0);
    store.append(fresh, Buffer.from('final'));
    expect(String(fresh.events.at(-1))).toBe('final');
  });

  it('gives one event beyond the cap live only', () => {
    const store = new EventStore(new EventBudget());
    const stream = store.open();
    expect(store.append(stream, Buffer.alloc(EVENT_CAPS.bytes + 1))).toBe(1);
    expect(store.bytes).toBe(0);
    expect(store.append(stream, Buffer.from('x'))).toBe(2);
  });

  it('shares one budget with all other sessions, and gives it back', () => {
    const budget = new EventBudget(100);
    const stores = Array.from({ length: 10 }, () => new EventStore(budget));
    for (const store of stores) {
      const stream = store.open();
      for (let i = 0; i < 5; i++) store.append(stream, Buffer.alloc(10));
    }
    expect(budget.used).toBeLessThanOrEqual(100);
    for (const store of stores) store.clear();
    expect(budget.used).toBe(0);
  });

  it('forgets a stream some time after its end', () => {
    const store = new EventStore(new EventBudget());
    const stream = store.open();
    store.append(stream, Buffer.from('x'));
    store.complete(stream, 1000);
    store.expire(1000 + EVENT_CAPS.age);
    expect(events(store, stream.id(0))).toEqual(['x']);
    store.expire(1001 + EVENT_CAPS.age);
    expect(events(store, stream.id(0))).toBeUndefined();
    expect(store.bytes).toBe(0);
  });

  it('keeps nothing of a stream that was dropped with its session', () => {
    const budget = new EventBudget();
    const store = new EventStore(budget);
    const stream = store.open();
    store.clear();
    store.append(stream, Buffer.alloc(100));
    store.append(store.open(), Buffer.alloc(100));
    expect([store.bytes, budget.used, stream.events.length]).toEqual([0, 0, 0]);
  });

  it('is bounded by streams: the oldest that ended gives way', () => {
    const store = new EventStore(new EventBudget());
    const running = store.open();
    const ended = store.open();
    store.complete(ended, 0);
    for (let i = 0; i < EVENT_CAPS.streams - 1; i++) store.open();
    expect(store.find(ended.id(0))).toBeUndefined();
    expect(store.find(running.id(0))).toBeDefined();
  });
});
