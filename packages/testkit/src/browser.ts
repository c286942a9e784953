/** A browser without a screen: cookies as browsers keep them (by host, not by port), redirects one at a time. */

export interface Page {
  readonly url: string;
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** Absolute; undefined: it does not redirect. */
  readonly location: string | undefined;
  /** Fields of the page's forms, by name; the last of a name. */
  readonly fields: Readonly<Record<string, string>>;
}

interface Cookie {
  readonly value: string;
  readonly path: string;
}

/** One person's browser. Two of them share nothing. */
export class Browser {
  readonly #cookies = new Map<string, Map<string, Cookie>>();

  /** Opens a page and stays there, redirect or not. */
  async open(
    url: string,
    form?: Readonly<Record<string, string>>,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Page> {
    const target = new URL(url);
    const cookie = this.cookies(url);
    const response = await fetch(target, {
      method: form === undefined ? 'GET' : 'POST',
      redirect: 'manual',
      headers: {
        ...(cookie === '' ? {} : { cookie }),
        ...(form === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
        ...headers,
      },
      ...(form === undefined ? {} : { body: new URLSearchParams(form).toString() }),
    });
    for (const line of response.headers.getSetCookie()) this.#keep(target, line);
    const location = response.headers.get('location');
    const text = await response.text();
    return {
      url,
      status: response.status,
      headers: response.headers,
      text,
      location: location === null ? undefined : new URL(location, target).href,
      fields: fieldsOf(text),
    };
  }

  /** Opens a page and follows redirects until one leads to a URL that begins with `until`, or there are no more. */
  async follow(url: string, until?: string): Promise<Page> {
    let page = await this.open(url);
    for (let hops = 0; page.location !== undefined; hops++) {
      if (until !== undefined && page.location.startsWith(until)) return page;
      if (hops > 20) throw new Error(`More than 20 redirects, now at ${page.location}`);
      page = await this.open(page.location);
    }
    return page;
  }

  /** What it would send to this URL. */
  cookies(url: string): string {
    const { hostname, pathname } = new URL(url);
    return [...(this.#cookies.get(hostname) ?? [])]
      .filter(([, { path }]) => pathname === path || pathname.startsWith(path.endsWith('/') ? path : `${path}/`))
      .map(([name, { value }]) => `${name}=${value}`)
      .join('; ');
  }

  #keep({ hostname, pathname }: URL, line: string): void {
    const [pair = '', ...attributes] = line.split(';').map((part) => part.trim());
    const name = pair.slice(0, pair.indexOf('='));
    const value = pair.slice(pair.indexOf('=') + 1);
    const given = new Map(
      attributes.map((one) => [one.split('=', 1)[0]!.toLowerCase(), one.slice(one.indexOf('=') + 1)]),
    );
    const kept = this.#cookies.get(hostname) ?? new Map<string, Cookie>();
    this.#cookies.set(hostname, kept);
    const expires = given.get('expires');
    const gone = given.get('max-age') === '0' || (expires !== undefined && Date.parse(expires) <= Date.now());
    if (gone) kept.delete(name);
    else
      kept.set(name, { value, path: given.get('path') ?? pathname.slice(0, Math.max(1, pathname.lastIndexOf('/'))) });
  }
}

function fieldsOf(html: string): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const [tag] of html.matchAll(/<input\b[^>]*>/g)) {
    const name = / name="([^"]*)"/.exec(tag)?.[1];
    if (name !== undefined) fields[name] = unescaped(/ value="([^"]*)"/.exec(tag)?.[1] ?? '');
  }
  return fields;
}

function unescaped(text: string): string {
  return text.replace(/&(quot|lt|gt|#39|amp);/g, (_, name: string) => ENTITIES[name]!);
}

const ENTITIES: Readonly<Record<string, string>> = { quot: '"', lt: '<', gt: '>', '#39': "'", amp: '&' };
