/** Forms of answer a client takes (RFC 9110 section 12.5.1). */
export interface Accepted {
  readonly json: boolean;
  readonly stream: boolean;
  /** An event stream weighs more than JSON, or as much and stands first. False where anything is accepted. */
  readonly streamFirst: boolean;
}

const BOTH: Accepted = { json: true, stream: true, streamFirst: false };
const USUAL = 'application/json, text/event-stream';

/** Reads an Accept header; an absent one takes everything. */
export function accepted(header: string | undefined): Accepted {
  if (header === undefined || header === USUAL) return BOTH;
  let json = 0;
  let stream = 0;
  let streamFirst = false;
  for (const range of header.toLowerCase().split(',')) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim());
    const weight = weightOf(parameters);
    const any = type === '*/*';
    if (any || type === 'text/event-stream' || type === 'text/*') stream = Math.max(stream, weight);
    // What comes first counts at equal weight.
    if (weight > 0 && json === 0 && stream > 0 && !any) streamFirst = true;
    if (any || type === 'application/json' || type === 'application/*') json = Math.max(json, weight);
  }
  return { json: json > 0, stream: stream > 0, streamFirst: stream > json || (stream === json && streamFirst) };
}

/** `q=`, from 0 to 1; 1 when there is none that can be read. */
function weightOf(parameters: readonly string[]): number {
  for (const parameter of parameters) {
    if (/^q=(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/.test(parameter)) return Number(parameter.slice(2));
  }
  return 1;
}
