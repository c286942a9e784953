import type { Checks, ParsedConfig } from './check.ts';
import { doubt, type KeyPath, mistake } from './problems.ts';
import { isPlaceholder } from './secrets.ts';
import { isLoopback } from './units.ts';

type Entry = NonNullable<ParsedConfig['auth']>[number];

/** `bridge`: only with `oidc`, a secret that is one, and an address under which people and their clients find it. */
export function checkBridge(checks: Checks, entry: Entry, path: KeyPath): void {
  const { bridge, oidc } = entry;
  if (bridge === undefined) return;
  const { config, findings } = checks;
  const at = [...path, 'bridge'];
  if (oidc === undefined) {
    findings.push(mistake(at, '`bridge` stands before an OpenID Connect provider.', 'Write oidc: URL beside it.'));
  }
  if (isPlaceholder(bridge.clientSecret)) {
    findings.push(mistake([...at, 'clientSecret'], 'This secret is a placeholder.', 'Copy it from the provider.'));
  } else if (checks.isLiteral(...at, 'clientSecret')) {
    const what = 'This secret stands in the file in plain text.';
    findings.push(doubt([...at, 'clientSecret'], what, 'Write ${env:NAME} or ${file:/path}.'));
  }
  const { publicUrl, listen } = config;
  if (checks.isDamaged('publicUrl') || checks.isDamaged('listen')) return;
  if (publicUrl === undefined) {
    if (isLoopback(listen.host)) return;
    findings.push(
      mistake(at, 'The provider must know where to send people back.', 'Write publicUrl: https://your-host.'),
    );
  } else if (publicUrl.startsWith('http:') && !isLoopback(new URL(publicUrl).hostname.replace(/^\[|\]$/g, ''))) {
    findings.push(mistake(['publicUrl'], 'Codes and tokens of `bridge` would travel unencrypted.', 'Write https://.'));
  }
}
