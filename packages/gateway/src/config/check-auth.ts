import type { Checks, ParsedConfig } from './check.ts';
import { checkBridge } from './check-bridge.ts';
import { checkTokens } from './check-tokens.ts';
import { doubt, type KeyPath, mistake, suggest } from './problems.ts';
import { isPlaceholder } from './secrets.ts';

type Entry = NonNullable<ParsedConfig['auth']>[number];

const MIN_TOKEN = 16;
/** Principals of stdio clients are `local/<user>`, those made by operations `ops/<id>`. */
const RESERVED_NAMES = new Set(['local', 'ops']);

export function checkAuth(checks: Checks): void {
  const { config, findings } = checks;
  const names = new Set<string>();
  const tokens = new Set<string>();
  config.auth?.forEach((entry, i) => {
    const path: KeyPath = ['auth', i];
    checkKind(checks, entry, path);
    const name = entry.name ?? (entry.anonymous === undefined ? undefined : 'anonymous');
    if (name !== undefined) {
      if (names.has(name)) {
        findings.push(
          mistake(
            [...path, 'name'],
            `The entry "${name}" stands here twice.`,
            name === 'anonymous' ? 'Remove one.' : 'Choose another name.',
          ),
        );
      }
      names.add(name);
    }
    checkTokens(checks, entry, path);
    checkBridge(checks, entry, path);
    const token = entry.bearer?.token;
    if (token === undefined) return;
    checkToken(checks, token, [...path, 'bearer', 'token']);
    if (tokens.has(token)) {
      findings.push(
        mistake(
          [...path, 'bearer', 'token'],
          'An entry above has the same token; this one can never be used.',
          'Give each its own.',
        ),
      );
    }
    tokens.add(token);
  });
  for (const [path, endpoint] of Object.entries(config.endpoints ?? {})) {
    endpoint.auth?.forEach((name, i) => {
      if (checks.isDamaged('auth') || checks.entries.includes(name)) return;
      findings.push(
        mistake(['endpoints', path, 'auth', i], `There is no auth entry "${name}".`, suggest(name, checks.entries)),
      );
    });
  }
}

/** Methods of which an entry has one, in the order in which advice names them. */
const KINDS = ['oidc', 'jwt', 'keys', 'bearer', 'anonymous'] as const;

function checkKind(checks: Checks, entry: Entry, path: KeyPath): void {
  const { findings } = checks;
  const kinds = KINDS.filter((kind) => entry[kind] !== undefined);
  if (kinds.length !== 1) {
    const what = kinds.length === 0 ? 'An auth entry needs a method.' : 'An auth entry has one method, not several.';
    findings.push(mistake(path, what, `Write one of ${KINDS.map((kind) => `\`${kind}\``).join(', ')}.`));
    return;
  }
  const anonymous = kinds[0] === 'anonymous';
  if (!anonymous && entry.name === undefined) {
    findings.push(
      mistake(path, 'The entry needs a name; principals are called `<name>/<subject>`.', 'Write name: ci.'),
    );
  }
  if (anonymous && entry.name !== undefined && entry.name !== 'anonymous') {
    findings.push(mistake([...path, 'name'], 'The anonymous entry is always called anonymous.', 'Remove the name.'));
  }
  if (!anonymous && entry.name === 'anonymous') {
    findings.push(
      mistake([...path, 'name'], '"anonymous" is the name of the anonymous entry.', 'Choose another name.'),
    );
  }
  if (entry.name !== undefined && RESERVED_NAMES.has(entry.name)) {
    findings.push(mistake([...path, 'name'], `"${entry.name}" is reserved.`, 'Choose another name.'));
  }
}

function checkToken(checks: Checks, token: string, path: KeyPath): void {
  const { findings } = checks;
  const fix = 'Make one: openssl rand -hex 32.';
  if (isPlaceholder(token)) findings.push(mistake(path, 'This token is a placeholder; anybody can guess it.', fix));
  else if (token.length < MIN_TOKEN)
    findings.push(mistake(path, `The token has fewer than ${MIN_TOKEN} characters.`, fix));
  else if (!/^[\x21-\x7e]+$/.test(token)) {
    findings.push(mistake(path, 'A token is visible ASCII without blanks; no client could send this one.', fix));
  } else if (token.length > 4096) {
    findings.push(mistake(path, 'The token has more than 4096 characters.', fix));
  } else if (checks.isLiteral(...path)) {
    findings.push(doubt(path, 'This token stands in the file in plain text.', 'Write ${env:NAME} or ${file:/path}.'));
  }
}
