/** Heuristics about texts that hold secrets. They answer yes or no; nothing here returns the text. */

const TOKEN_SHAPES: readonly RegExp[] = [
  /\bsk-[A-Za-z0-9_-]{16,}/,
  /\b(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{20,}/,
  /\bgithub_pat_[A-Za-z0-9_]{20,}/,
  /\bglpat-[A-Za-z0-9_-]{16,}/,
  /\bxox[abprs]-[A-Za-z0-9-]{10,}/,
  /\bAKIA[0-9A-Z]{16}\b/,
  /\bAIza[0-9A-Za-z_-]{30,}/,
  /\btg_[0-9a-z]{16}_[0-9a-z]{58}\b/,
  /\bntn_[A-Za-z0-9]{20,}/,
  /\blin_api_[A-Za-z0-9]{20,}/,
  /\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\./,
  /-----BEGIN [A-Z ]*PRIVATE KEY-----/,
  /^(?:Bearer|Basic|Token)\s+\S{8,}$/i,
  /:\/\/[^/\s:@]+:[^/\s@]+@/,
];

const SECRET_NAMES =
  /(?:^|[_-])(?:api[_-]?key|apikey|key|token|secret|password|passwd|pass|pwd|pat|credential|credentials|auth|authorization|cookie|private[_-]?key)(?:$|[_-])/i;

/** Names that end a secret-looking word without holding one: `API_KEY_FILE`, `TOKEN_URL`, `KEY_ID`. */
const HARMLESS_NAMES = /(?:_FILE|_PATH|_URL|_URI|_DIR|_ID|_NAME|_TYPE|_MODE|_HOST|_PORT)$/i;

/** True when a variable, header or parameter of this name usually holds a secret. */
export function isSecretName(name: string): boolean {
  const words = name.replaceAll(/([a-z])([A-Z])/g, '$1_$2');
  return SECRET_NAMES.test(words) && !HARMLESS_NAMES.test(words);
}

/** True when the text itself has the shape of a token or key. */
export function looksSecret(text: string): boolean {
  return TOKEN_SHAPES.some((shape) => shape.test(text));
}

/** True for a value written out that a stranger should not read; `name` is its variable or header. */
export function isPlainSecret(name: string, value: string): boolean {
  if (value === '' || isPlaceholder(value)) return false;
  return (
    looksSecret(value) || (isSecretName(name) && value.length >= 8 && !/^(?:true|false|none|null|\d+)$/i.test(value))
  );
}

const PLACEHOLDER =
  /^(?:change[-_ ]?me.*|replace[-_ ]?(?:me|this).*|to-?do|x{3,}|\*{3,}|\.{3,}|password\d*|secret|token|admin|test|example|dummy|placeholder|default|letmein|<.*>|\[.*\]|your[-_ ].*|my[-_ ]?(?:secret|token|key|api[-_]?key)|(?:insert|enter|put)[-_ ].*|.*[-_ ]goes[-_ ]here|sk-\.{3}|1234567*8?9?0?|abc123)$/i;

/** True for a value that stands where a secret should be put. */
export function isPlaceholder(value: string): boolean {
  const bare = value.trim().replace(/^(?:Bearer|Basic|Token)\s+/i, '');
  return PLACEHOLDER.test(bare) || (bare.length > 2 && new Set(bare).size === 1);
}
