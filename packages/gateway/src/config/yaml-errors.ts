import type { YAMLError } from 'yaml';

export interface YamlComplaint {
  readonly offset: number;
  readonly what: string;
  readonly fix: string;
}

/** A parser error as a sentence about what was probably meant. */
export function describeYamlError(error: YAMLError, text: string): YamlComplaint {
  const offset = error.pos[0];
  const line = lineAt(text, offset);
  const say = (what: string, fix: string, at = offset): YamlComplaint => ({ offset: at, what, fix });

  const variable = /(?<!["'\w])\$\{[^}"']*\}?/.exec(line.text);
  if (variable !== null && /[{[,]\s*.*\$\{|\$\{/.test(line.text) && isFlowTrouble(error.code)) {
    const word = variable[0].endsWith('}') ? variable[0] : `${variable[0]}}`;
    return say(
      `Inside { } or [ ] an unquoted ${word} ends the YAML value at its brace.`,
      `Put quotes round it: "${word}".`,
      line.start + variable.index,
    );
  }
  switch (error.code) {
    case 'DUPLICATE_KEY':
      return say(`The key ${JSON.stringify(wordAt(text, offset))} stands here twice.`, 'Keep one of them.');
    case 'TAB_AS_INDENT':
      return say('YAML does not allow tabs as indentation.', 'Use spaces.');
    case 'BAD_SCALAR_START':
      return say(
        `In YAML a value cannot begin with ${text[offset] ?? 'this character'} unless it is quoted.`,
        `Put quotes round it: ${JSON.stringify(restOfValue(text, offset))}.`,
      );
    case 'BAD_ALIAS':
      return text[offset] === '&'
        ? say('In YAML a value that starts with & is an anchor.', 'Put quotes round it: "&".')
        : say('In YAML a value that starts with * is an alias.', 'Put quotes round it: "*".');
    case 'TAG_RESOLVE_FAILED':
      return say('YAML tags (words that start with !) are not used here.', 'Put quotes round the value.');
    case 'MULTIPLE_DOCS':
      return say('The file has more than one YAML document.', 'Remove the line ---.');
    case 'BAD_DQ_ESCAPE':
      return say(
        `Inside double quotes ${text.slice(offset, offset + 2)} is not an escape.`,
        'Double the backslash, or use single quotes.',
      );
    case 'BLOCK_AS_IMPLICIT_KEY':
      return say(
        'This value holds a colon followed by a blank, which YAML reads as a key.',
        'Put quotes round the value.',
      );
    case 'MISSING_CHAR':
      if (/quote/.test(error.message))
        return say('A quote is not closed.', 'Add the closing quote.', quoteStart(text, offset));
      if (/, or :/.test(error.message) || /flow/.test(error.message)) {
        return say('A comma or colon is missing inside { } or [ ].', 'Separate the entries with commas.');
      }
      return isCutShort(text, offset)
        ? say('The file ends before its { or [ is closed.', 'Write the rest of it.')
        : say('A key without its colon.', 'Write key: value.');
    case 'BAD_INDENT':
      return /flow/i.test(error.message)
        ? say('A bracket or brace is not closed, or its lines are not indented.', 'Close it, or indent its lines.')
        : say(
            'The indentation does not fit the lines above.',
            'Use the same number of spaces for the keys of one map.',
          );
    case 'UNEXPECTED_TOKEN':
    case 'BLOCK_IN_FLOW':
      return say('This is not expected here.', 'Look for a missing comma, quote, bracket or line break before it.');
    case 'MULTILINE_IMPLICIT_KEY':
      return say(
        'The indentation does not fit the lines above.',
        'Use the same number of spaces for the keys of one map.',
      );
    default:
      return say(`This is not valid YAML: ${firstLine(error.message)}.`, '');
  }
}

function isFlowTrouble(code: string): boolean {
  return [
    'UNEXPECTED_TOKEN',
    'MISSING_CHAR',
    'BAD_INDENT',
    'BLOCK_IN_FLOW',
    'BLOCK_AS_IMPLICIT_KEY',
    'DUPLICATE_KEY',
  ].includes(code);
}

/** JSON that stops in the middle, as an editor that is still writing leaves it. */
function isCutShort(text: string, offset: number): boolean {
  return /^\s*[{[]/.test(text) && offset >= text.trimEnd().length;
}

function firstLine(message: string): string {
  return message.split('\n', 1)[0]!.replace(/[.:]$/, '');
}

function lineAt(text: string, offset: number): { readonly text: string; readonly start: number } {
  const start = text.lastIndexOf('\n', offset - 1) + 1;
  const end = text.indexOf('\n', offset);
  return { text: text.slice(start, end < 0 ? text.length : end), start };
}

function wordAt(text: string, offset: number): string {
  return (
    /^(?:"[^"\n]*"|'[^'\n]*'|[^\s:,{}[\]]+)/
      .exec(text.slice(offset, offset + 200))?.[0]
      .replaceAll(/^["']|["']$/g, '') ?? ''
  );
}

function restOfValue(text: string, offset: number): string {
  return /^[^\n,\]}#]*/.exec(text.slice(offset, offset + 80))![0].trim();
}

/** A quote that is never closed is noticed at the end of the file; its beginning is what the reader looks for. */
function quoteStart(text: string, offset: number): number {
  const before = text.slice(0, offset);
  const open = /(?:^|[\s:,[{])(["'])(?:(?!\1)[\s\S])*$/.exec(before);
  return open === null ? offset : open.index + open[0].indexOf(open[1]!);
}
