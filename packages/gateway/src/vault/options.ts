/** Where the master key is; made by `config/compile`. */
export type KeyOptions =
  | { readonly kind: 'file' /** Absolute. */; readonly file: string }
  | {
      readonly kind: 'env';
      readonly name: string /** Its value; undefined: it is not set. */;
      readonly value: string | undefined;
    };

export interface VaultOptions {
  readonly keys: KeyOptions;
}
