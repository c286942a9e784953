/** Cookies of the pages of accounts. */
export class Cookies {
  readonly #base: () => string;

  /** `base`: of the gateway as browsers reach it. */
  constructor(base: () => string) {
    this.#base = base;
  }

  /** The `Set-Cookie` line; `life` in milliseconds, 0 takes it away. */
  line(what: string, value: string, life: number): string {
    const secure = this.#base().startsWith('https:') ? '; Secure' : '';
    // Lax: the person comes back from another site.
    return `${this.#name(what)}=${value}; Path=/; Max-Age=${life / 1000}; HttpOnly; SameSite=Lax${secure}`;
  }

  /** Its value in a `Cookie` header. With several of a name the browser is confused, and then it is nobody. */
  of(header: string | undefined, what: string): string | undefined {
    const prefix = `${this.#name(what)}=`;
    const pairs = (header ?? '').split(';').map((pair) => pair.trim());
    const values = pairs.filter((pair) => pair.startsWith(prefix)).map((pair) => pair.slice(prefix.length));
    return values.length === 1 && values[0] !== '' ? values[0] : undefined;
  }

  #name(what: string): string {
    // `__Host-`: only this host can have set it, over https and for every path, no sub-domain and no plain page.
    return `${this.#base().startsWith('https:') ? '__Host-' : ''}tollgate-${what}`;
  }
}
