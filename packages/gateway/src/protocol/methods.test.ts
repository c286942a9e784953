import { describe, expect, it } from 'vitest';
import { headerNameField, isClientRequest, METHODS, methodInfo } from './methods.ts';

describe('methods', () => {
  it('are listed once', () => {
    expect(new Set(METHODS.map((entry) => entry.method)).size).toBe(METHODS.length);
  });

  it('have a name header where the specification and the tasks extension say so, and only there', () => {
    const mirrored = METHODS.filter((entry) => entry.mirrored).map((entry) => [
      entry.method,
      headerNameField(entry.method),
    ]);
    expect(mirrored).toEqual([
      ['tools/call', 'name'],
      ['prompts/get', 'name'],
      ['resources/read', 'uri'],
      ['tasks/get', 'taskId'],
      ['tasks/update', 'taskId'],
      ['tasks/cancel', 'taskId'],
    ]);
    expect(headerNameField('resources/subscribe')).toBeUndefined();
    expect(headerNameField('acme/do')).toBeUndefined();
  });

  it('removed methods exist in the legacy era only, new ones in the modern one only', () => {
    const removed = ['initialize', 'ping', 'logging/setLevel', 'resources/subscribe', 'resources/unsubscribe'];
    for (const method of removed) {
      expect([isClientRequest(method, 'legacy'), isClientRequest(method, 'modern')]).toEqual([true, false]);
    }
    for (const method of ['server/discover', 'subscriptions/listen', 'tasks/get']) {
      expect([isClientRequest(method, 'legacy'), isClientRequest(method, 'modern')]).toEqual([false, true]);
    }
    expect(isClientRequest('tools/call', 'legacy') && isClientRequest('tools/call', 'modern')).toBe(true);
  });

  it('what servers send is no request of a client', () => {
    expect(isClientRequest('sampling/createMessage', 'legacy')).toBe(false);
    expect(isClientRequest('notifications/progress', 'legacy')).toBe(false);
    expect(methodInfo('notifications/tools/list_changed')?.list).toBe('tools');
  });
});
