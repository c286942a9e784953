import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import type { ConsentReview } from '../config/consent.ts';
import { askConsent } from './configuration.ts';

const review: ConsentReview = {
  file: '/project/.mcp.json',
  sha256: 'a'.repeat(64),
  servers: [],
  variables: [],
  files: [],
  secrets: [],
  keys: undefined,
  changed: false,
};

/** What the person at a terminal of our own is answered when these keys are typed; undefined: the terminal is closed. */
async function answer(keys: string | undefined): Promise<boolean> {
  const input = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => input });
  const output = Object.assign(new PassThrough(), { isTTY: true, columns: 80 });
  output.resume();
  const asked = askConsent(review, { input, output });
  if (keys === undefined) input.end();
  else input.write(keys);
  return asked;
}

it.each([
  ['y', 'y\r', true],
  ['Yes', 'Yes\r', true],
  ['no', 'n\r', false],
  ['nothing', '\r', false],
  ['anything else', 'yellow\r', false],
  ['Ctrl-C', '\u0003', false],
  ['Ctrl-D', '\u0004', false],
  ['a terminal that is closed', undefined, false],
])('to the question for consent, %s is an answer, not a failure', async (_name, keys, approved) => {
  expect(await answer(keys)).toBe(approved);
});
