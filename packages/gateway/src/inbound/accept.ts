/** Forms of answer a client takes (RFC 9110 section 12.5.1, without weighing one against the other). */
export interface Accepted {
  readonly json: boolean;
  readonly stream: boolean;
}

const BOTH: Accepted = { json: true, stream: true };
const USUAL = 'application/json, text/event-stream';

/** Reads an Accept header; an absent one takes everything. */
export function accepted(header: string | undefined): Accepted {
  if (header === undefined || header === USUAL) return BOTH;
  let json = false;
  let stream = false;
  for (const range of header.toLowerCase().split(',')) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim());
    if (parameters.some((parameter) => /^q=0(?:\.0{0,3})?$/.test(parameter))) continue;
    if (type === '*/*') return BOTH;
    if (type === 'application/json' || type === 'application/*') json = true;
    if (type === 'text/event-stream' || type === 'text/*') stream = true;
  }
  return { json, stream };
}
