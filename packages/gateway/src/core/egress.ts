/**
 * `fetch` for URLs that no operator wrote: metadata of authorization servers, client id documents, icons. HTTPS only,
 * every address checked and the checked one connected to, no redirects, bounded in size and time.
 */
export type Egress = (url: string | URL, init?: EgressInit) => Promise<Response>;

export interface EgressInit {
  readonly method?: 'GET' | 'POST' | 'HEAD';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal?: AbortSignal;
  /** Bytes of the answer. Default 1 MiB. */
  readonly maxBytes?: number;
  /** Milliseconds for all of it. Default 15 000. */
  readonly timeout?: number;
}
