/** Characters that a person does not see, or takes for others, while a model or a program reads them. */
import type { Corpus, Segment } from './corpus.ts';
import type { Finding } from './finding.ts';

const SUSPECT = /[\u200b-\u200d\u2060-\u2064\u202a-\u202e\u2066-\u2069\ufeff\u{e0001}-\u{e007f}]/u;
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;
/** A joiner between letters of scripts that need it, or within an emoji. */
const JOINED =
  /[\p{Script=Arabic}\p{Script=Devanagari}\p{Script=Bengali}\p{Script=Tamil}\p{Script=Malayalam}\p{Script=Sinhala}\p{Script=Khmer}\p{Script=Telugu}\p{Script=Kannada}\p{Script=Gujarati}\p{Extended_Pictographic}\p{Emoji_Modifier}]|\ufe0f/u;
const MAX_FINDINGS = 20;

/** Zero-width, bidirectional and tag characters where no script needs them. */
export function scanCharacters(corpus: Corpus): Finding[] {
  const findings: Finding[] = [];
  if (!SUSPECT.test(corpus.raw.text)) return findings;
  for (const segment of corpus.raw.segments) {
    const what = hidden(segment);
    if (what === undefined) continue;
    findings.push({
      id: 'invisible_characters',
      severity: 'high',
      where: corpus.path(segment.node),
      what,
      fix: 'Remove the characters; ask who put them there.',
    });
    if (findings.length === MAX_FINDINGS) break;
  }
  return findings;
}

function hidden({ text }: Segment): string | undefined {
  if (!SUSPECT.test(text)) return undefined;
  // Flags of regions are an emoji followed by tags.
  if (/[\u{e0001}-\u{e007f}]/u.test(text.replace(/\u{1f3f4}[\u{e0020}-\u{e007f}]{1,10}/gu, ''))) {
    return 'Tag characters: text that nobody sees and models read.';
  }
  if (/[\u202d\u202e]/.test(text)) return 'A bidirectional override: the text reads differently from what it is.';
  if (/[\u202a-\u202c\u2066-\u2069]/.test(text) && !RIGHT_TO_LEFT.test(text)) {
    return 'Bidirectional controls in a text without right-to-left letters.';
  }
  const characters = [...text];
  for (let i = 0; i < characters.length; i++) {
    const character = characters[i]!;
    // A mark of the byte order at the beginning of a file.
    if (character === '\ufeff' && i === 0) continue;
    if (/[\u200b\u2060-\u2064\ufeff]/.test(character))
      return 'Zero-width characters: they split words that filters look for.';
    if (!/[\u200c\u200d]/.test(character)) continue;
    if (!JOINED.test(characters[i - 1] ?? '') || !JOINED.test(characters[i + 1] ?? '')) {
      return 'Zero-width joiners between characters that do not join.';
    }
  }
  return undefined;
}

/** Letters of other scripts that look like Latin ones. */
const LOOKALIKES =
  /[\u0391\u0392\u0395-\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf\u03bd\u0405\u0406\u0408\u0410\u0412\u0415\u041a\u041c-\u041e\u0420-\u0422\u0425\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0455\u0456\u0458\u04bb\u0501\u051b\u0561\u0578\u057d]/;

/** True for a name that mixes Latin letters with their doubles, or has compatibility forms of them. */
export function isConfusable(name: string): boolean {
  if (!/[^\u0000-\u007f]/.test(name)) return false;
  if (/[\uff01-\uff5e\u{1d400}-\u{1d7ff}\u212a\u017f]/u.test(name)) return true;
  return /[A-Za-z]/.test(name) && LOOKALIKES.test(name);
}
