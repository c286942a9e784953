import type { Corpus, Encoding, Joined, Segment } from './corpus.ts';
import type { Finding } from './finding.ts';
import { SECRET_RULES } from './secret-rules.ts';
import { TEXT_RULES, type TextRule } from './text-rules.ts';

/** Findings of one rule that are reported; more say nothing new. */
const MAX_PER_RULE = 20;
const RULES: readonly TextRule[] = [...TEXT_RULES, ...SECRET_RULES];

/** What the patterns find in the texts of a value. */
export function scanTexts(corpus: Corpus): Finding[] {
  const findings: Finding[] = [];
  for (const rule of RULES) {
    const joined = rule.on === 'raw' ? corpus.raw : corpus.plain;
    if (rule.needs.some((literal) => joined.text.includes(literal))) scanRule(rule, joined, corpus, findings);
  }
  return findings;
}

function scanRule(rule: TextRule, joined: Joined, corpus: Corpus, findings: Finding[]): void {
  const sentence = new Sentence(rule, joined.text);
  let segment: Segment | undefined;
  let within = true;
  let document = false;
  let reported = -1;
  let count = 0;
  for (const match of joined.text.matchAll(rule.pattern)) {
    const here = joined.at(match.index);
    if (here === segment && reported === here.node) continue;
    if (here !== segment) {
      segment = here;
      within = rule.within?.every((pattern) => pattern.test(here.text)) ?? true;
      document = here.text.includes('\n') || here.text.includes('. ');
    }
    if (!within || here.node === reported) continue;
    if (!sentence.allows(match.index) || rule.accept?.(match[0], document) === false) continue;
    reported = here.node;
    findings.push(findingOf(rule, here, corpus));
    if (++count === MAX_PER_RULE) return;
  }
}

function findingOf({ id, severity, what, fix }: TextRule, segment: Segment, corpus: Corpus): Finding {
  const where = corpus.path(segment.node);
  const { encoding } = segment;
  if (encoding === undefined) return { id, severity, where, what, fix };
  return { id: 'encoded_payload', severity, where, what: `Hidden in ${inEncoding(encoding)}: ${id}. ${what}`, fix };
}

function inEncoding(encoding: Encoding): string {
  return encoding === 'percent' ? 'percent encoding' : encoding;
}

/** The sentence around a position, judged once however many matches stand in it: what is repeated must cost once. */
class Sentence {
  readonly #rule: TextRule;
  readonly #text: string;
  #end = -1;
  #verdict = true;

  constructor(rule: TextRule, text: string) {
    this.#rule = rule;
    this.#text = text;
  }

  allows(position: number): boolean {
    const { also, unless } = this.#rule;
    if (also === undefined && unless === undefined) return true;
    // Matches come in order, so that a position before the end lies in the same sentence.
    if (position < this.#end) return this.#verdict;
    const start = this.#startBefore(position, Math.max(this.#end, 0));
    this.#end = this.#endAfter(position);
    const sentence = this.#text.slice(start, this.#end);
    this.#verdict = (also?.every((pattern) => pattern.test(sentence)) ?? true) && unless?.test(sentence) !== true;
    return this.#verdict;
  }

  #startBefore(position: number, from: number): number {
    for (let at = position - 1; at > from; at--) if (this.#ends(at)) return at + 1;
    return from;
  }

  #endAfter(position: number): number {
    for (let at = position; at < this.#text.length; at++) if (this.#ends(at)) return at + 1;
    return this.#text.length;
  }

  /** A line feed, or a full stop with a blank behind it: not that of an address. */
  #ends(at: number): boolean {
    const code = this.#text.charCodeAt(at);
    if (code === 0x0a) return true;
    return (code === 0x2e || code === 0x21 || code === 0x3f) && this.#text.charCodeAt(at + 1) === 0x20;
  }
}
