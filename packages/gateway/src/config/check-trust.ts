import type { Checks } from './check.ts';
import { doubt, mistake, suggest } from './problems.ts';
import { isLoopback } from './units.ts';

/**
 * Variables that run code in a program before its own, or change which programs and libraries it finds. A command that
 * was reviewed is another one with them.
 */
const CODE =
  /^(?:LD_.*|DYLD_.*|PATH|NODE_OPTIONS|NODE_PATH|NODE_REPL_EXTERNAL_MODULE|BASH_ENV|ENV|BASH_FUNC_.*|PROMPT_COMMAND|IFS|PERL5OPT|PERL5LIB|PERL5DB|PYTHONSTARTUP|PYTHONPATH|PYTHONHOME|PYTHONINSPECT|RUBYOPT|RUBYLIB|JAVA_TOOL_OPTIONS|_JAVA_OPTIONS|JDK_JAVA_OPTIONS|CLASSPATH|GIT_SSH_COMMAND|GIT_EXTERNAL_DIFF|NPM_CONFIG_.*|GCONV_PATH|PYTHONUSERBASE|COMSPEC|PATHEXT)$/;

/** True for a variable that decides which code runs. Windows knows no case, and npm reads its own in any. */
export function carriesCode(name: string): boolean {
  return CODE.test(name) || CODE.test(name.toUpperCase());
}

export function checkTrust(checks: Checks): void {
  const { config, findings } = checks;
  const { trust, listen } = config;
  for (const name of Object.keys(trust.servers)) {
    if (checks.servers.includes(name) || checks.isAnyDamaged('servers')) continue;
    findings.push(
      mistake(['trust', 'servers', name], `There is no server "${name}".`, suggest(name, [...checks.servers])),
    );
  }
  checkSameUser(checks);
  const refuse = (trust.environment ?? (isLoopback(listen.host) ? 'warn' : 'refuse')) === 'refuse';
  for (const [name, server] of Object.entries(config.servers)) {
    if (server.command === undefined) continue;
    for (const variable of Object.keys(server.env ?? {})) {
      if (!carriesCode(variable)) continue;
      const what = `${variable} decides which code ${server.command} runs.`;
      findings.push(
        refuse
          ? mistake(
              ['servers', name, 'env', variable],
              what,
              'Remove it, give the path in `command`, or write trust: { environment: warn } when it is meant.',
            )
          : doubt(['servers', name, 'env', variable], what, 'Remove it unless you know why it is there.'),
      );
    }
  }
}

/** A server that can read the master key has every secret of the vault, those of other servers included. */
function checkSameUser(checks: Checks): void {
  const { config, findings } = checks;
  const { keys } = config.vault;
  const file = keys === 'file' || (typeof keys === 'object' && keys.file !== undefined);
  if (!file || !checks.usesVault || config.trust.sameUser === 'allow') return;
  const judge = isLoopback(config.listen.host) ? doubt : mistake;
  for (const [name, server] of Object.entries(config.servers)) {
    if (server.command !== undefined) findings.push(judge(['servers', name, 'command'], SAME_USER, SAME_USER_FIX));
  }
}

export const SAME_USER = 'This program runs as the user of the gateway and can read the master key of the vault.';
export const SAME_USER_FIX =
  'Start the server as another user or in a container and write its `url`, hold the key elsewhere (`vault.keys`), or write trust: { sameUser: allow } when it is meant.';
