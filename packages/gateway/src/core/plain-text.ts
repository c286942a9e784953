/** Texts of clients, servers and files on their way to a terminal or a log, where controls steer and line breaks forge. */

/** C0 and C1 controls but tab and line feed, DEL, and what turns the direction of text. */
const STEERING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;
/** Everything that some viewer takes for the end of a line. */
const BREAKS = /\r\n|[\n\u000b\u000c\r\u0085\u2028\u2029]/g;

/** The text without anything that could steer a terminal; line feeds and tabs stay. */
export function withoutControls(text: string): string {
  return text.replace(STEERING, '');
}

/** The same on one line: line breaks of every kind become blanks, so that no text can pretend to be a line of ours. */
export function oneLine(text: string): string {
  return withoutControls(text.replace(BREAKS, ' '));
}

/** JSON text in which such characters are escaped: the same value for every reader, and harmless when shown. */
export function plainJson(value: unknown): string {
  return JSON.stringify(value).replace(
    STEERING,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
