/**
 * The environment of a child process: a minimal base and what the operator declared, nothing else. A gateway's own
 * environment holds the secrets of every other server, and `LD_PRELOAD` or `NODE_OPTIONS` run code in the child.
 */

type Environment = Readonly<Record<string, string | undefined>>;

const POSIX_BASE = new Set(['PATH', 'HOME', 'USER', 'LOGNAME', 'LANG', 'TMPDIR', 'TERM', 'TZ']);

const WINDOWS_BASE = new Set([
  'PATH',
  'PATHEXT',
  'APPDATA',
  'COMSPEC',
  'HOMEDRIVE',
  'HOMEPATH',
  'LANG',
  'LOCALAPPDATA',
  'PROCESSOR_ARCHITECTURE',
  'PROGRAMDATA',
  'PROGRAMFILES',
  'SYSTEMDRIVE',
  'SYSTEMROOT',
  'TEMP',
  'TMP',
  'USERNAME',
  'USERPROFILE',
]);

/** Set by every shell and never what a server asks for; naming them in a hint would mislead. */
const SHELL_NOISE = new Set(['PWD', 'OLDPWD', 'SHLVL', 'SHELL', 'HOSTNAME', 'EDITOR', 'PAGER', 'DISPLAY', 'MAIL']);

/**
 * The child's whole environment: base variables of `parent` that are set, then `declared`, which wins.
 * `LD_*`, `NODE_OPTIONS` and everything else of the gateway reach the child only when declared.
 */
export function childEnvironment(
  declared: Readonly<Record<string, string>>,
  parent: Environment,
  platform: string,
): Record<string, string> {
  const windows = platform === 'win32';
  const result: Record<string, string> = {};
  for (const [name, value] of Object.entries(parent)) {
    if (value === undefined) continue;
    // Names are case-insensitive on Windows (`Path`).
    const known = windows
      ? WINDOWS_BASE.has(name.toUpperCase())
      : POSIX_BASE.has(name) || (name.startsWith('LC_') && name.length > 3);
    // An exported shell function is code in a variable (Shellshock).
    if (known && !value.startsWith('()')) result[name] = value;
  }
  for (const [name, value] of Object.entries(declared)) {
    if (windows) {
      for (const other of Object.keys(result)) if (other.toUpperCase() === name.toUpperCase()) delete result[other];
    }
    result[name] = value;
  }
  return result;
}

const NAME_IN_TEXT = /(?<![A-Za-z0-9_])[A-Z][A-Z0-9_]{2,63}(?![A-Za-z0-9_])/g;
const NAME_IN_ARGUMENT = /\$\{?([A-Za-z_][A-Za-z0-9_]{1,63})\}?/g;
const SPEAKS_OF_ENVIRONMENT =
  /environment|env\b|variable|missing|required|must be set|not set|is not defined|undefined/i;

/**
 * What to add to `env` when a child died at its start: variables its last stderr lines or its arguments name, that
 * it did not get. Empty when nothing suggests one. Names only, never values.
 */
export function environmentHints(
  stderr: readonly string[],
  args: readonly string[],
  passed: Environment,
  parent: Environment,
): string[] {
  const inShell = new Set<string>();
  const nowhere = new Set<string>();
  const consider = (name: string, certain: boolean): void => {
    if (Object.hasOwn(passed, name) || SHELL_NOISE.has(name)) return;
    if (parent[name] !== undefined) inShell.add(name);
    else if (certain) nowhere.add(name);
  };
  for (const line of stderr) {
    const certain = SPEAKS_OF_ENVIRONMENT.test(line);
    // Without an underscore a capital word is more likely shouting than a variable.
    for (const [name] of line.matchAll(NAME_IN_TEXT)) consider(name, certain && name.includes('_'));
  }
  // There is no shell between us and the child, so `$NAME` in an argument arrives literally.
  for (const arg of args) for (const match of arg.matchAll(NAME_IN_ARGUMENT)) consider(match[1]!, true);
  const hints: string[] = [];
  for (const name of [...inShell].slice(0, 3)) {
    hints.push(`${name} is set in your shell but not passed: add env: { ${name}: "\${env:${name}}" }.`);
  }
  if (hints.length === 0) {
    for (const name of [...nowhere].slice(0, 3)) {
      hints.push(`${name} is not set: export it and add env: { ${name}: "\${env:${name}}" }.`);
    }
  }
  return hints;
}
