import { describe, expect, it } from 'vitest';
import { compileCanonicalGlob } from '../core/glob.ts';
import { nameProblem, skeleton, uriProblem } from './names.ts';

/** What a hostile server may call a tool so that a person, a model or a careless comparison takes it for `list`. */
const LOOK_ALIKES: readonly (readonly [how: string, name: string])[] = [
  ['Cyrillic letters among Latin ones', 'lіst'],
  ['all Cyrillic', 'сору'],
  ['all Greek', 'ΑΒΕ'],
  ['Armenian', 'հօս'],
  ['full-width', 'ｌｉｓｔ'],
  ['zero-width space', 'li\u200bst'],
  ['zero-width joiner', 'li\u200dst'],
  ['word joiner', 'list\u2060'],
  ['byte order mark', '\ufefflist'],
  ['soft hyphen', 'li\u00adst'],
  ['bidi override', '\u202etsil'],
  ['bidi isolate', '\u2066list\u2069'],
  ['tag block', 'list\u{e0061}\u{e0062}'],
  ['variation selector', 'list\ufe0f'],
  ['long s', 'liſt'],
  ['Kelvin sign', '\u212aill'],
  ['dotted capital I', 'LİST'],
  ['dotless i', 'lıst'],
  ['mathematical letters', '𝐥𝐢𝐬𝐭'],
  ['ligature', 'ﬁle'],
  ['superscript', 'list²'],
  ['decomposed', 'cafe\u0301'],
  ['Hangul filler', 'list\u3164'],
  ['no-break space', 'list\u00a0'],
  ['division slash', 'a∕list'],
  ['hyphen that is none', 'list‐all'],
  ['private use', 'list\ue000'],
  ['line separator', 'list\u2028'],
  ['control', 'list\u0007'],
  ['lone surrogate', 'list\ud800'],
  ['Cherokee', 'ᏞᎥsᎢ'],
];

describe('names of tools and prompts', () => {
  it.each(LOOK_ALIKES)('are refused when they look like another one: %s', (_how, name) => {
    expect(nameProblem(name)).toEqual(expect.any(String));
    // And were it let in, no rule about the name that it looks like would match it.
    for (const pattern of ['files/list', 'files/copy', 'files/kill', 'files/file', 'files/cafe']) {
      expect(compileCanonicalGlob(pattern).matches(`files/${name}`)).toBe(false);
    }
  });

  it.each([
    'list',
    'Read-File.v2',
    'a b',
    'ns/tool',
    'créer_fichier',
    'Größe',
    'список_файлов',
    'ファイル検索',
    '搜索web',
    '파일',
  ])('are taken when they look like nothing else: %s', (name) => {
    expect(nameProblem(name)).toBeUndefined();
  });

  it('of one skeleton look alike; ASCII names are their own', () => {
    expect(skeleton('зоо')).toBe(skeleton('Зоо').replace('3', 'з'));
    expect(skeleton('l1st')).not.toBe(skeleton('list'));
  });
});

describe('URIs', () => {
  it('may have any letters, and nothing that hides or turns', () => {
    expect(uriProblem('file:///日本/é.txt')).toBeUndefined();
    for (const hidden of ['\u200b', '\u202e', '\u{e0041}', '\u0000', '\u2028']) {
      expect(uriProblem(`file:///a${hidden}b`)).toEqual(expect.any(String));
    }
  });
});
