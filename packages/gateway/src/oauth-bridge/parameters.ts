import { refusal } from './errors.ts';

/** Parameters of a request. RFC 6749 section 3.1: none may stand twice, an empty one counts as absent. */
export class Parameters {
  readonly #values: URLSearchParams;

  constructor(text: string) {
    this.#values = new URLSearchParams(text);
  }

  get(name: string, most = 512): string | undefined {
    const all = this.#values.getAll(name);
    if (all.length > 1) throw refusal('invalid_request', `The parameter ${name} is repeated.`);
    const value = all[0];
    if (value === undefined || value === '') return undefined;
    if (value.length > most) {
      throw refusal('invalid_request', `The parameter ${name} has more than ${most} characters.`);
    }
    return value;
  }

  require(name: string, most?: number): string {
    const value = this.get(name, most);
    if (value === undefined) throw refusal('invalid_request', `The parameter ${name} is missing.`);
    return value;
  }
}

/** The scopes of a `scope` parameter (RFC 6749 section 3.3), each once. */
export function scopesOf(text: string | undefined): string[] {
  if (text === undefined) return [];
  const scopes = [...new Set(text.split(' ').filter((scope) => scope !== ''))];
  if (scopes.length > 50 || scopes.some((scope) => !/^[\x21\x23-\x5b\x5d-\x7e]{1,256}$/.test(scope))) {
    throw refusal('invalid_scope', 'A scope is one word of visible characters; at most 50 of them.');
  }
  return scopes;
}

/** Whether one of the granted scopes covers this one as calls are judged: itself, `*`, or a prefix such as `admin:*`. */
export function covers(granted: readonly string[], scope: string): boolean {
  return granted.some(
    (one) => one === scope || one === '*' || (one.endsWith(':*') && scope.startsWith(one.slice(0, -1))),
  );
}
