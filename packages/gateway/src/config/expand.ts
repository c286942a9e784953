import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { formatReference, markOf, parseReference, type SecretReference } from '../core/secret-reference.ts';
import { type Finding, formatPath, type KeyPath, mistake } from './problems.ts';
import { placeKey } from './tree.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** Where a value came from that does not stand in the file itself. */
export interface Expansion {
  readonly path: KeyPath;
  readonly kind: 'env' | 'file' | 'vault';
  /** Name of the variable or secret, or path of the file as written. */
  readonly name: string;
  /** The variable was unset or empty and the default of the expression was taken. */
  readonly defaulted: boolean;
}

export interface Expanded {
  readonly value: unknown;
  readonly expansions: readonly Expansion[];
  /** The text as written, by place, of every value that held an expression: safe to show. */
  readonly originals: ReadonlyMap<string, string>;
  readonly problems: readonly Finding[];
}

export interface ExpandOptions {
  readonly env: Environment;
  /** Folder at which `${file:…}` starts. */
  readonly baseDir: string;
  /** Values of the gateway's secrets, by name; absent: marks stand for them. */
  readonly secrets?: ReadonlyMap<string, string> | undefined;
}

const EXPRESSION = /\$\$\{|\$\{([^}]*)(\}?)/g;
const MAX_SECRET_FILE = 64 * 1024;

/**
 * Replaces `${env:X}`, `${env:X:-default}`, `${file:/p}` and `${vault:x}` in every text below `value`; `$${` stands for a
 * literal `${`. Where X has no value and X_FILE has, the value is what that file holds. Unset and empty are mistakes that name the variable. Command lines take none: `ps` shows them.
 */
export function expand(value: unknown, options: ExpandOptions): Expanded {
  const expansions: Expansion[] = [];
  const originals = new Map<string, string>();
  const problems: Finding[] = [];

  function text(value: string, keys: KeyPath): string {
    if (!value.includes('${')) return value;
    const argv = inArgv(keys);
    let failed = false;
    const fail = (what: string, fix: string): string => {
      failed = true;
      problems.push(mistake(keys, what, fix));
      return '';
    };
    const out = value.replaceAll(EXPRESSION, (whole: string, body: string | undefined, close: string) => {
      if (body === undefined) return '${';
      if (close === '') return fail(`"${whole.slice(0, 60)}" has no closing brace.`, 'Write ${env:NAME}.');
      const expression = readExpression(body);
      if (expression === undefined) return fail(...unknownExpression(body));
      if (argv) return fail(...refusedInArgv(whole, expression, keys));
      if (expression.kind === 'vault') return fromVault(expression.reference);
      return expression.kind === 'env' ? fromEnvironment(expression) : fromFile(expression.name);
    });
    // What was written holds no secret: it may be shown where the value may not.
    originals.set(placeKey(keys), value);
    return failed ? value : out;

    function fromEnvironment(expression: EnvExpression): string {
      const found = options.env[expression.name];
      const set = found !== undefined && found !== '';
      // The convention of container images: NAME_FILE names a file with the value, and a value of NAME itself wins.
      const place = `${expression.name}_FILE`;
      if (!set && (options.env[place] ?? '') !== '') return fromFile(options.env[place]!, place);
      if (!set && expression.fallback === undefined) {
        const state = found === undefined ? 'not set' : 'empty';
        return fail(
          `The environment variable ${expression.name} is ${state}.`,
          `Set it or ${place}, or write \${env:${expression.name}:-default}.`,
        );
      }
      expansions.push({ path: keys, kind: 'env', name: expression.name, defaulted: !set });
      return set ? found : expression.fallback!;
    }

    function fromVault(reference: SecretReference): string {
      const refusal = refusedReference(reference, keys);
      if (refusal !== undefined) return fail(...refusal);
      const { scope, name } = reference;
      expansions.push({
        path: keys,
        kind: 'vault',
        name: scope === 'gateway' ? name : `${scope}/${name}`,
        defaulted: false,
      });
      return (isOfServer(keys) ? undefined : options.secrets?.get(name)) ?? markOf(reference);
    }

    /** `variable`: the one that names the file; undefined: the expression does. */
    function fromFile(name: string, variable?: string): string {
      expansions.push({
        path: keys,
        kind: variable === undefined ? 'file' : 'env',
        name: variable ?? name,
        defaulted: false,
      });
      const file = path.resolve(options.baseDir, name);
      try {
        const stat = statSync(file);
        if (!stat.isFile()) return fail(`${name} is not a file.`, 'Name a file that holds the value.');
        if (stat.size > MAX_SECRET_FILE)
          return fail(`${name} is larger than 64 KiB.`, 'Name a file that holds the value.');
        const content = readFileSync(file, 'utf8').replace(/\r?\n$/, '');
        return content === '' ? fail(`${name} is empty.`, 'Write the value into it.') : content;
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code;
        const why = code === 'ENOENT' ? 'does not exist' : code === 'EACCES' ? 'may not be read' : 'cannot be read';
        return fail(`The file ${name} ${why}.`, `It is looked for at ${file}.`);
      }
    }
  }

  function walk(value: unknown, keys: KeyPath): unknown {
    if (typeof value === 'string') return text(value, keys);
    if (Array.isArray(value)) return value.map((item, i) => walk(item, [...keys, i]));
    if (typeof value === 'object' && value !== null) {
      const out: Record<string, unknown> = {};
      for (const [key, item] of Object.entries(value)) {
        if (key.includes('${'))
          problems.push(mistake([...keys, key], 'A key cannot hold ${…}.', 'Write the name out.'));
        out[key] = walk(item, [...keys, key]);
      }
      return out;
    }
    return value;
  }

  return { value: walk(value, []), expansions, originals, problems };
}

interface EnvExpression {
  readonly kind: 'env';
  readonly name: string;
  readonly fallback: string | undefined;
}
type Expression =
  | EnvExpression
  | { readonly kind: 'file'; readonly name: string }
  | { readonly kind: 'vault'; readonly reference: SecretReference };

function readExpression(body: string): Expression | undefined {
  const env = /^env:([A-Za-z_][A-Za-z0-9_]*)(?::-([\s\S]*))?$/.exec(body);
  if (env !== null) return { kind: 'env', name: env[1]!, fallback: env[2] };
  const vault = /^vault:(.+)$/.exec(body);
  if (vault !== null) {
    const reference = parseReference(vault[1]!);
    return reference === undefined ? undefined : { kind: 'vault', reference };
  }
  const file = /^file:(.+)$/.exec(body);
  return file === null ? undefined : { kind: 'file', name: file[1]! };
}

function unknownExpression(body: string): [what: string, fix: string] {
  if (/^vault:/.test(body)) {
    return [
      `"\${${body.slice(0, 60)}}" names no secret.`,
      'Write ${vault:NAME}, ${vault:user/NAME} or ${vault:tenant/NAME}; letters, digits, dot, dash and underscore.',
    ];
  }
  const bare = /^([A-Za-z_][A-Za-z0-9_]*)(:-[\s\S]*)?$/.exec(body);
  if (bare !== null)
    return [`"\${${body.slice(0, 60)}}" does not say where the value is.`, `Write \${env:${body.slice(0, 60)}}.`];
  return [
    `"\${${body.slice(0, 60)}}" cannot be read.`,
    'Write ${env:NAME}, ${env:NAME:-default}, ${file:/path} or ${vault:NAME}; $${ for a literal ${.',
  ];
}

function inArgv(keys: KeyPath): boolean {
  return keys[0] === 'servers' && (keys[2] === 'args' || keys[2] === 'command');
}

function refusedInArgv(whole: string, expression: Expression, keys: KeyPath): [what: string, fix: string] {
  const example = expression.kind === 'env' ? expression.name : 'NAME';
  return [
    'Every user of the machine can read a command line, so nothing is expanded in it.',
    `Pass it as ${formatPath([...keys.slice(0, 2), 'env', example])}: "${whole}".`,
  ];
}

/** Headers and environment of a server: what they refer to is put in place when it is used. */
export function isOfServer(keys: KeyPath): boolean {
  return keys[0] === 'servers' && (keys[2] === 'headers' || keys[2] === 'env') && keys.length === 4;
}

/** Why a reference cannot stand at a place; whether the place is that of a secret at all is checked by the schema. */
export function refusedReference(reference: SecretReference, keys: KeyPath): [what: string, fix: string] | undefined {
  const [section] = keys;
  if (section === 'storage' || section === 'vault' || section === 'dataDir') {
    return [
      `The vault is kept in \`storage\` and opened with \`vault.keys\`, so ${formatReference(reference)} cannot stand there.`,
      'Write ${env:NAME} or ${file:/path}.',
    ];
  }
  if (reference.scope === 'gateway' || isOfServer(keys)) return undefined;
  return [
    `${formatReference(reference)} belongs to a caller, and no caller is known here.`,
    'It can stand in `headers` and `env` of a server. Write ${vault:NAME} for a secret of the gateway.',
  ];
}
