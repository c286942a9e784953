import { silentLog } from '../core/log.ts';
import { openVault, takeOldTokens } from '../pipeline/sign-ins.ts';
import { login } from '../upstream/auth/login.ts';
import { openBrowser } from '../upstream/oauth-browser.ts';
import { loadForCommand } from './configuration.ts';
import { err, out } from './output.ts';
import { signInServer } from './sign-in.ts';

/** `tollgate login SERVER`: signs in with the browser; a running gateway uses the tokens from its next call on. */
export async function loginCommand(
  [name, config]: readonly (string | undefined)[],
  options: { readonly browser?: boolean },
): Promise<void> {
  const { compiled } = await loadForCommand(config);
  const server = signInServer(compiled, name);
  const interrupted = new AbortController();
  process.once('SIGINT', () => interrupted.abort());
  const vault = await openVault(compiled);
  try {
    await takeOldTokens(compiled, vault.secrets, silentLog);
    await login(server, {
      secrets: vault.secrets,
      openBrowser: options.browser === false ? () => Promise.resolve(false) : openBrowser,
      print: err,
      signal: interrupted.signal,
    });
  } finally {
    await vault.close();
  }
  out(`Signed in at ${server.name}. The tokens are in the vault.`);
}
