import { describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import { Follower } from './follower.ts';

function follower(): { readonly follower: Follower; readonly errors: unknown[] } {
  const errors: unknown[] = [];
  const log = { ...silentLog, error: (facts: unknown) => errors.push(facts) };
  return { follower: new Follower(log, 'it cannot be read', 1), errors };
}

describe('a follower', () => {
  it('goes on after looks that fail, and logs only what the storage does not tell itself', async () => {
    const { follower: follows, errors } = follower();
    const cause = new Error('a row that nobody can read');
    const outcomes = [new TollgateError('storage_unavailable', 'away'), cause];
    let looks = 0;
    await follows.follow(async () => {
      looks++;
      const failure = outcomes.shift();
      if (failure !== undefined) throw failure;
      follows.close();
    });
    expect(looks).toBe(3);
    expect(errors).toEqual([{ err: cause }]);
  });

  it('asks until the answer is true, and not once more after it was closed', async () => {
    const { follower: follows } = follower();
    let asked = 0;
    await follows.until(async () => ++asked === 3);
    expect(asked).toBe(3);
    const asking = follows.until(async () => ++asked > 1000);
    follows.close();
    await asking;
    expect(asked).toBe(3);
    expect(await follows.pause()).toBe(false);
  });
});
