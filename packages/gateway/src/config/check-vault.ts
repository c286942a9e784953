import type { Checks } from './check.ts';
import { mistake } from './problems.ts';

export function checkVault(checks: Checks): void {
  const { keys } = checks.config.vault;
  if (typeof keys === 'string') return;
  const written = Object.keys(keys);
  if (keys.command?.length === 0) {
    checks.findings.push(
      mistake(['vault', 'keys', 'command'], 'A command has a program.', 'For example [./kms-helper].'),
    );
  }
  if (written.length === 1) return;
  const what = written.length === 0 ? 'Where is the master key?' : `There is ${written.join(' and ')}.`;
  checks.findings.push(mistake(['vault', 'keys'], what, 'Write one of file, env, command, socket, transit.'));
}
