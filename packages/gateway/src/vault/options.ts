/** Where the master key is; made by `config/compile`. */
export type KeyOptions =
  /** An absolute path. */
  | { readonly kind: 'file'; readonly file: string }
  /** `value` undefined: the variable is not set. */
  | { readonly kind: 'env'; readonly name: string; readonly value: string | undefined }
  | CommandOptions
  /** An absolute path of a Unix socket, or the name of a pipe on Windows. */
  | { readonly kind: 'socket'; readonly path: string }
  | TransitOptions;

/** A program that speaks the protocol of `remote-keys.ts` on its standard input and output. */
export interface CommandOptions {
  readonly kind: 'command';
  readonly command: readonly [string, ...string[]];
  /** Absolute. */
  readonly cwd: string;
}

/** HashiCorp Vault's transit engine, or what speaks like it (OpenBao). */
export interface TransitOptions {
  readonly kind: 'transit';
  /** Without a trailing slash. */
  readonly url: string;
  /** Path of the engine. */
  readonly mount: string;
  /** Name of a key that was made with `derived=true`. */
  readonly key: string;
  /** File with the token, read anew for every request, so that an agent may renew it. Absolute. */
  readonly tokenFile: string;
  readonly namespace: string | undefined;
  /** File of the CA's certificate; undefined: those of the system. Absolute. */
  readonly ca: string | undefined;
}

export interface VaultOptions {
  readonly keys: KeyOptions;
}
