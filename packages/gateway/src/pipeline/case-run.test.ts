import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadCases } from '../config/cases.ts';
import { type CompiledConfig, compile } from '../config/compile.ts';
import { loadConfigObject } from '../config/load.ts';
import { runCase } from './case-run.ts';

const CONFIG: CompiledConfig = compile(
  loadConfigObject({
    version: 1,
    dataDir: '/nonexistent',
    servers: { files: { url: 'http://127.0.0.1:1/mcp' }, exa: { url: 'http://127.0.0.1:2/mcp' } },
    tools: {
      'exa/*': { price: { each: '0.01 USD' } },
      'exa/crawl': { price: { each: '0.01 USD', times: 'size(args.pages)' } },
    },
    limits: {
      calls: { by: 'principal', limit: '30/min' },
      spend: { by: 'principal', limit: '20 USD/day' },
      busy: { by: 'server', server: 'files', limit: '2 at once' },
      loop: { by: ['principal', 'tool', 'args'], tool: 'files/*', limit: '3/h' },
    },
    tiers: { standard: { calls: { limit: '60/min' } } },
  }).config,
);

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tollgate-cases-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function load(text: string) {
  const file = join(folder, 'cases.yaml');
  await writeFile(file, text);
  return loadCases(file, CONFIG, folder);
}

async function failures(text: string): Promise<readonly string[]> {
  const [test] = await load(`cases:\n  - name: it\n${text.replace(/^/gm, '    ')}`);
  return (await runCase(test!, CONFIG)).failures;
}

describe('a case', () => {
  it.each([
    [
      'rates come back with time',
      `when:
  - { caller: keys/ada, tool: exa/search, times: 30 }
  - { caller: keys/ada, tool: exa/search }
  - { caller: keys/ada, tool: exa/search, at: +2s, times: 2 }
  - { caller: keys/bob, tool: exa/search, at: +2s }
then:
  - { allowed: true, charged: 0.3 USD }
  - { allowed: false, refused: { rule: calls, reason: rate_limited, retryAfter: 2s }, charged: 0 USD }
  - { allowed: 1 }
  - { allowed: true }`,
    ],
    [
      'tiers have their numbers',
      `given: { tier: standard }
when: [{ tool: exa/search, times: 60 }, { tool: exa/search }, { tool: exa/search, tier: default, caller: keys/x, times: 31 }]
then: [{ allowed: 60 }, { allowed: 0 }, { allowed: 30 }]`,
    ],
    [
      'what was spent counts for every caller, and a day ends at midnight',
      `given: { at: "2026-03-04T22:30:00Z", spent: { spend: 19.985 USD, calls: 29 } }
when:
  - { caller: keys/ada, tool: exa/search }
  - { caller: keys/ada, tool: exa/search, at: +1m }
  - { caller: keys/bob, tool: exa/crawl, args: { pages: [1, 2] }, at: +1m }
  - { caller: keys/ada, tool: exa/search, at: +90m }
then:
  - { allowed: true, charged: 0.01 USD }
  - { refused: { rule: spend, reason: daily_cost_exceeded, retryAfter: 89m } }
  - { refused: { rule: spend } }
  - { allowed: true }`,
    ],
    [
      'a cost takes the place of the price',
      `when: [{ tool: exa/search, cost: 15 USD }, { tool: exa/search, cost: 6 USD }]
then: [{ charged: 15 USD }, { refused: { rule: spend } }]`,
    ],
    [
      'slots are held for as long as a call takes',
      `when:
  - { tool: files/read, takes: 5s, times: 2, args: { n: 1 } }
  - { tool: files/read, at: +4s, args: { n: 2 } }
  - { tool: files/read, at: +5s, args: { n: 3 } }
then:
  - { allowed: true }
  - { refused: { rule: busy, reason: concurrency_limited } }
  - { allowed: true }`,
    ],
    [
      'equal arguments are a loop, whatever their order',
      `when:
  - { tool: files/read, args: { a: 1, b: [x] }, times: 3 }
  - { tool: files/read, args: { b: [x], a: 1 } }
  - { tool: files/read, args: { a: 2, b: [x] } }
then: [{ allowed: true }, { refused: { rule: loop } }, { allowed: true }]`,
    ],
  ])('%s', async (_name, text) => {
    expect(await failures(text)).toEqual([]);
  });

  it('says what came otherwise than expected', async () => {
    const text = `when: [{ tool: exa/search, times: 31 }, { tool: exa/search }, { tool: files/read, caller: a/b }]
then:
  - { allowed: true, charged: 1 USD }
  - { refused: { rule: spend, reason: stopped, retryAfter: never } }
  - { refused: {} }`;
    expect(await failures(text)).toEqual([
      'call 1 (exa/search): expected 31 of 31 to be allowed, 30 were; refused: rate_limited by calls',
      'call 1 (exa/search): expected 1 USD to be charged, it was 0.3 USD',
      'call 2 (exa/search): expected spend to refuse, it was calls',
      'call 2 (exa/search): expected the reason stopped, it was rate_limited',
      'call 2 (exa/search): expected to be told to repeat after never, it was 2s',
      'call 3 (files/read): expected a refusal, it was allowed',
    ]);
  });
});

describe('a file of cases', () => {
  it.each([
    ['cases: [{ name: x, when: [], then: [{}] }]', 'Each call needs one outcome: `when` has 0 and `then` has 1'],
    [
      'cases: [{ name: x, when: [{ tool: exa/a, cal1er: b }], then: [{}] }]',
      'Unknown key "cal1er". Did you mean "caller"?',
    ],
    [
      'cases: [{ name: x, when: [{ tool: exo/a }], then: [{}] }]',
      'There is no server "exo" in the configuration. Did you mean "exa"?',
    ],
    ['cases: [{ name: x, when: [{}], then: [{}] }]', 'A tools/call needs a tool.'],
    ['cases: [{ name: x, when: [{ tool: exa/a, at: 2s }], then: [{}] }]', 'begins with +'],
    [
      'cases: [{ name: x, when: [{ tool: exa/a, at: +2s }, { tool: exa/a, at: +1s }], then: [{}, {}] }]',
      'Time does not go back.',
    ],
    ['cases: [{ name: x, when: [{ tool: exa/a }], then: [{ refused: { rule: cals } }] }]', 'Did you mean "calls"?'],
    ['cases: [{ name: x, given: { tier: gold }, when: [], then: [] }]', 'There is no tier "gold"'],
    ['cases: [{ name: x, given: { at: 2026-03-04 }, when: [], then: [] }]', 'This is not a time with its zone.'],
    ['cases: [{ name: x, given: { spent: { spend: 3 } }, when: [], then: [] }]', '"spend" counts USD. Write 3 USD.'],
    ['cases: [{ name: x, given: { spent: { calls: 3 USD } }, when: [], then: [] }]', '"calls" counts calls, not USD.'],
    ['cases: [{ name: x, given: { spent: { busy: 1 } }, when: [], then: [] }]', 'Nothing is kept of such a limit'],
    ['cases: [{ name: x, when: [], then: [] }]', 'There is no call.'],
    ['cases: [{ name: x, when: [{ tool: exa/a, at: +-5s }], then: [{}] }]', '"+-5s" is before the start.'],
    ['cases: [{ name: x, when: [{ tool: exa/a, at: -5s }], then: [{}] }]', '"-5s" is before the start.'],
    [
      'cases: [{ name: x, given: { spent: { calls: 99999999999999999999 } }, when: [{ tool: exa/a }], then: [{}] }]',
      'Must be a whole number that can be counted exactly. At most 9007199254740991.',
    ],
    [
      'cases: [{ name: x, given: { spent: { calls: "30" } }, when: [{ tool: exa/a }], then: [{}] }]',
      'Write 30 without quotes',
    ],
    ['cases: []', 'There is no case.'],
    ['case: []', 'Unknown key "case". Did you mean "cases"?'],
    ['- a\n- b', 'Must be a map'],
    ['cases: [', 'cases.yaml:1'],
  ])('%s', async (text, message) => {
    await expect(load(text)).rejects.toThrow(message);
  });

  it('tells the line of every mistake at once', async () => {
    const text = 'cases:\n  - name: x\n    when: [{ tool: exo/a }]\n    then:\n      - allowed: maybe\n      - {}\n';
    await expect(load(text)).rejects.toThrow(/cases\.yaml:5:9 cases\[0\]\.then\[0\]\.allowed/);
    await expect(load(text.replace('maybe', 'true'))).rejects.toThrow(
      /has 2 mistakes:\n.*cases\.yaml:3.*\n.*cases\.yaml:4/,
    );
  });
});
