/**
 * Names that can be mistaken for others. Names are compared byte for byte everywhere, so a look-alike never matches a
 * rule or shares a limit; what is kept out here are names that a person or a model would take for another one.
 */

/** What MCP 2025-11-25 and later recommend for tool names. */
const PLAIN = /^[A-Za-z0-9_.-]{1,128}$/;
const PRINTABLE = /^[\x20-\x7e]+$/;
/** Controls, zero-width, bidi and tag characters, private and unassigned ones, lone surrogates, odd blanks. */
const HIDDEN = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]|(?! )\p{Zs}/u;
/** Beyond ASCII: letters, marks, digits and pictures. Other signs look too much like the ones that separate names. */
const LETTERS = /^[\x20-\x7e\p{L}\p{M}\p{Nd}\p{So}]+$/u;

/** Scripts of UAX 31, table 5; a letter of any other is not taken. */
const SCRIPTS = [
  'Latin',
  'Greek',
  'Cyrillic',
  'Armenian',
  'Hebrew',
  'Arabic',
  'Thaana',
  'Devanagari',
  'Bengali',
  'Gurmukhi',
  'Gujarati',
  'Oriya',
  'Tamil',
  'Telugu',
  'Kannada',
  'Malayalam',
  'Sinhala',
  'Thai',
  'Lao',
  'Tibetan',
  'Myanmar',
  'Georgian',
  'Ethiopic',
  'Khmer',
  'Han',
  'Hiragana',
  'Katakana',
  'Bopomofo',
  'Hangul',
].map((name) => ({ name, has: new RegExp(`\\p{Script=${name}}`, 'u') }));
const SCRIPT_OF_ANY = /[\p{Script=Common}\p{Script=Inherited}]/u;

/** Scripts that are written together (UTS 39, "highly restrictive"). */
const TOGETHER: readonly ReadonlySet<string>[] = [
  new Set(['Latin', 'Han', 'Hiragana', 'Katakana']),
  new Set(['Latin', 'Han', 'Bopomofo']),
  new Set(['Latin', 'Han', 'Hangul']),
];

/**
 * Letters that look like ASCII ones, after `confusables.txt` of UTS 39: those of the alphabets in which whole words can
 * be spelled with them. Where only some letters of a word are replaced, its scripts are mixed and it is refused anyway.
 */
const LOOK_ALIKES: ReadonlyMap<string, string> = new Map(
  Object.entries({
    a: 'аαɑ',
    b: 'Ьƅ',
    c: 'сϲ',
    d: 'ԁ',
    e: 'еҽ',
    f: 'ƒ',
    g: 'ɡց',
    h: 'һհ',
    i: 'іιıɩӏ',
    j: 'јϳ',
    k: 'κк',
    l: 'ⅼǀӏ',
    m: 'м',
    n: 'ոռпη',
    o: 'оοօσ',
    p: 'рρ',
    q: 'ԛզ',
    r: 'гᴦ',
    s: 'ѕſ',
    t: 'тτ',
    u: 'υսʋц',
    v: 'νѵ',
    w: 'ԝաѡω',
    x: 'хχ',
    y: 'уγү',
    z: 'ᴢ',
    A: 'АΑ',
    B: 'ВΒ',
    C: 'СϹ',
    D: 'Ꭰ',
    E: 'ЕΕ',
    F: 'Ϝ',
    G: 'Ԍ',
    H: 'НΗ',
    I: 'ІΙİӀ',
    J: 'ЈͿ',
    K: 'КΚ\u212a',
    L: 'Լ',
    M: 'МΜ',
    N: 'Ν',
    O: 'ОΟՕ',
    P: 'РΡ',
    Q: 'Ԛ',
    S: 'ЅՏ',
    T: 'ТΤ',
    U: 'Ս',
    V: 'Ѵ',
    W: 'Ԝ',
    X: 'ХΧ',
    Y: 'УΥҮ',
    Z: 'Ζ',
    '3': 'ЗӠƷ',
    '6': 'б',
  }).flatMap(([ascii, others]) => [...others].map((other) => [other, ascii])),
);

/** Why a name of a tool or prompt is not taken, as the end of a sentence; undefined: it is. */
export function nameProblem(name: string): string | undefined {
  if (PLAIN.test(name) || PRINTABLE.test(name)) return undefined;
  if (HIDDEN.test(name) || !name.isWellFormed()) return 'has characters that nobody sees or that turn the text';
  if (name.normalize('NFC') !== name || name.normalize('NFKC') !== name) {
    return 'is not in normal form (NFKC): it looks like another name';
  }
  if (!LETTERS.test(name)) return 'has signs beyond letters and digits';
  const scripts = scriptsOf(name);
  if (scripts === undefined) return 'has letters of a script that is not in use';
  if (scripts.size > 1 && !TOGETHER.some((set) => scripts.isSubsetOf(set))) {
    return `mixes letters of ${[...scripts].join(' and ')}`;
  }
  const plain = skeleton(name);
  return PRINTABLE.test(plain) ? `reads as "${plain}" but is another name` : undefined;
}

/** Why a URI or URI template is not taken; undefined: it is. */
export function uriProblem(uri: string): string | undefined {
  return HIDDEN.test(uri) ? 'has characters that nobody sees or that turn the text' : undefined;
}

/** Two names of one skeleton look alike (UTS 39). ASCII names are their own: `l` and `1` are two names. */
export function skeleton(name: string): string {
  if (PRINTABLE.test(name)) return name;
  let plain = '';
  for (const character of name.normalize('NFC')) plain += LOOK_ALIKES.get(character) ?? character;
  return plain;
}

/** Undefined: a letter of an unknown script. */
function scriptsOf(name: string): Set<string> | undefined {
  const found = new Set<string>();
  for (const character of name) {
    if (SCRIPT_OF_ANY.test(character)) continue;
    const script = SCRIPTS.find(({ has }) => has.test(character));
    if (script === undefined) return undefined;
    found.add(script.name);
  }
  return found;
}
