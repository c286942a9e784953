/** The forms of well-known credentials, with their letters as they are: a credential in lower case is none. */
import type { TextRule } from './text-rules.ts';

const FIX = 'Revoke the secret, and write a reference in its place: ${env:NAME}.';

function secret(name: string, needs: readonly string[], pattern: RegExp): TextRule {
  return {
    id: 'plain_secret',
    severity: 'high',
    what: `A ${name} in plain text.`,
    fix: FIX,
    on: 'raw',
    needs,
    pattern,
    accept: (match) => !isPlaceholder(match) && distinct(match) >= 10,
  };
}

export const SECRET_RULES: readonly TextRule[] = [
  secret('AWS access key', ['AKIA', 'ASIA'], /\b(?:AKIA|ASIA)[0-9A-Z]{16}\b/g),
  secret(
    'GitHub token',
    ['gh', 'github_pat_'],
    /\bgh[pousr]_[A-Za-z0-9]{36,255}\b|\bgithub_pat_[A-Za-z0-9_]{50,255}\b/g,
  ),
  secret('GitLab token', ['glpat-'], /\bglpat-[A-Za-z0-9_-]{20,64}/g),
  secret('Slack token', ['xox'], /\bxox[abprs]-[A-Za-z0-9-]{20,255}/g),
  secret('key of a model provider', ['sk-'], /\bsk-(?:ant-|proj-|or-)?[A-Za-z0-9_-]{32,255}/g),
  secret('Google API key', ['AIza'], /\bAIza[0-9A-Za-z_-]{35}/g),
  secret('Stripe key', ['_live_'], /\b[rs]k_live_[0-9A-Za-z]{20,99}/g),
  secret('npm token', ['npm_'], /\bnpm_[A-Za-z0-9]{36}\b/g),
  secret('private key', ['-----BEGIN'], /-----BEGIN (?:[A-Z]{2,10} ){0,2}PRIVATE KEY-----\s{0,4}[A-Za-z0-9+/=]{16}/g),
];

/** A member of a configuration or of headers whose value is a credential. */
export const SECRET_KEY =
  /(?:^|[_-])(?:password|passwd|secret|api[_-]?key|apikey|access[_-]?key|access[_-]?token|auth[_-]?token|client[_-]?secret|private[_-]?key|token)$/i;

/** What stands where a secret would: references, blanks to fill in, types of a schema. */
export function isPlaceholder(value: string): boolean {
  return (
    value.includes('${') ||
    value.includes('{{') ||
    /[<>[\]*…]|\.\.\.|example|your[_-]?|placeholder|change[_-]?me|redacted|dummy|sample|xxxx|^(?:string|number|env|null|none|true|false|secret|password|token)$/i.test(
      value,
    )
  );
}

/** Different characters: random text has many. */
export function distinct(value: string): number {
  return new Set(value).size;
}
