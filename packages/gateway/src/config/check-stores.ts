import type { Checks, ParsedConfig } from './check.ts';
import { doubt, type KeyPath, mistake } from './problems.ts';
import { isPlaceholder } from './secrets.ts';

type StateMap = Exclude<ParsedConfig['state'], string>;
type StorageMap = Exclude<ParsedConfig['storage'], string>;

const MIN_SECRET = 16;
const PLAIN_FIX = 'Write ${env:NAME} or ${file:/path}.';

export function checkStores(checks: Checks): void {
  const { storage, state, webhooks } = checks.config;
  if (typeof storage === 'string') checkUrlPassword(checks, storage, ['storage']);
  else checkStorage(checks, storage);
  if (typeof state === 'string') checkUrlPassword(checks, state, ['state']);
  else checkState(checks, state);
  webhooks.forEach(({ url, secret }, i) => {
    const path: KeyPath = ['webhooks', i];
    if (checks.isLiteral(...path, 'url') && URL.parse(url)?.protocol === 'http:' && !isLoopbackUrl(url)) {
      checks.findings.push(doubt([...path, 'url'], 'Alerts travel unencrypted.', 'Write an https URL.'));
    }
    if (secret !== undefined) checkSecret(checks, secret, [...path, 'secret'], MIN_SECRET);
  });
}

function isLoopbackUrl(text: string): boolean {
  return /^(?:localhost|127\.|\[::1\])/.test(URL.parse(text)?.hostname ?? '');
}

function checkUrlPassword(checks: Checks, text: string, path: KeyPath): void {
  const password = URL.parse(text)?.password ?? '';
  if (password === '' || !checks.isLiteral(...path)) return;
  checks.findings.push(doubt(path, 'This password stands in the file in plain text.', PLAIN_FIX));
}

function checkSecret(checks: Checks, secret: string, path: KeyPath, least: number): void {
  if (least > 0 && isPlaceholder(secret)) {
    checks.findings.push(
      mistake(path, 'This is a placeholder; anybody can guess it.', 'Make one: openssl rand -hex 32.'),
    );
  } else if (secret.length < least) {
    checks.findings.push(mistake(path, `It has fewer than ${least} characters.`, 'Make one: openssl rand -hex 32.'));
  } else if (checks.isLiteral(...path)) {
    checks.findings.push(doubt(path, 'This secret stands in the file in plain text.', PLAIN_FIX));
  }
}

function checkStorage(checks: Checks, storage: StorageMap): void {
  const refuse = (key: string, what: string, fix: string) =>
    void checks.findings.push(mistake(['storage', key], what, fix));
  if (storage.postgres !== undefined) {
    checkUrlPassword(checks, storage.postgres, ['storage', 'postgres']);
    if (storage.sqlite !== undefined) refuse('sqlite', 'There is one storage.', 'Remove `sqlite` or `postgres`.');
  } else {
    for (const key of ['pool', 'connectTimeout', 'statementTimeout'] as const) {
      if (storage[key] !== undefined) refuse(key, `\`${key}\` is for PostgreSQL.`, 'Remove it, or write `postgres`.');
    }
  }
  if (storage.encryptionKey !== undefined) checkSecret(checks, storage.encryptionKey, ['storage', 'encryptionKey'], 0);
}

function checkState(checks: Checks, state: StateMap): void {
  const { findings } = checks;
  const refuse = (key: string | undefined, what: string, fix: string) =>
    void findings.push(mistake(key === undefined ? ['state'] : ['state', key], what, fix));
  const targets = (['url', 'cluster', 'sentinel'] as const).filter((key) => state[key] !== undefined);
  if (targets.length === 0) refuse(undefined, 'Where is Redis?', 'Write `url`, `cluster` or `sentinel`.');
  if (targets.length > 1) refuse(targets[1], `There is ${targets.join(' and ')}.`, 'Write one of them.');
  const url = URL.parse(state.url ?? '');
  if (state.url !== undefined) checkUrlPassword(checks, state.url, ['state', 'url']);
  if (state.cluster?.length === 0) refuse('cluster', 'A cluster has nodes.', 'Name at least one.');
  if (state.sentinel?.nodes.length === 0) refuse('sentinel', 'Somebody must be asked.', 'Name at least one sentinel.');
  if (state.cluster !== undefined && (state.database ?? 0) !== 0) {
    refuse('database', 'A cluster has only database 0.', 'Remove the key.');
  }
  if (url !== null && state.database !== undefined && url.pathname.length > 1) {
    refuse('database', 'The URL names a database too.', 'Remove one.');
  }
  for (const key of ['username', 'password'] as const) {
    if (state[key] !== undefined && url !== null && url[key] !== '') {
      refuse(key, `The URL has a ${key} too.`, 'Remove one.');
    }
  }
  if (state.username !== undefined && state.password === undefined && (url?.password ?? '') === '') {
    refuse('username', 'A user without a password is refused by Redis.', 'Write `password`.');
  }
  if (state.password !== undefined) checkSecret(checks, state.password, ['state', 'password'], 0);
  const own = state.sentinel?.password;
  if (own !== undefined) checkSecret(checks, own, ['state', 'sentinel', 'password'], 0);
  const { tls } = state;
  if (typeof tls === 'object' && (tls.cert === undefined) !== (tls.key === undefined)) {
    findings.push(mistake(['state', 'tls'], '`cert` and `key` go together.', 'Write both, or none.'));
  }
}
