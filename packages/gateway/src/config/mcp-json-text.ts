import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { parseEnv } from 'node:util';
import { markOf, parseReference } from '../core/secret-reference.ts';
import { type Environment, type Expansion, isOfServer } from './expand.ts';
import { type Finding, type KeyPath, mistake } from './problems.ts';
import { isSecretName } from './secrets.ts';
import { placeKey } from './tree.ts';

const EXPRESSION = /\$\{([^}]*)\}/g;

interface ForeignOptions {
  readonly env: Environment;
  readonly baseDir: string;
  /** The `inputs` list of VS Code. */
  readonly inputs: unknown;
}

interface Input {
  readonly id: string;
  readonly description: string;
  readonly fallback: string | undefined;
}

/** Expands the variable forms of MCP clients: `${X}`, `${X:-d}`, `${env:X}`, `${input:x}`, `${workspaceFolder}`, … */
export class ForeignText {
  readonly expansions: Expansion[] = [];
  readonly originals = new Map<string, string>();
  readonly problems: Finding[] = [];
  readonly #options: ForeignOptions;
  readonly #inputs: ReadonlyMap<string, Input>;

  constructor(options: ForeignOptions) {
    this.#options = options;
    this.#inputs = readInputs(options.inputs);
  }

  get baseDir(): string {
    return this.#options.baseDir;
  }

  /**
   * The text with its variables replaced. `childEnv`: the text is part of a command line, and these are the
   * variables the child is given; it expands those itself.
   */
  expand(text: string, keys: KeyPath, childEnv?: ReadonlySet<string>): string {
    if (!text.includes('${')) return text;
    let failed = false;
    const fail = (what: string, fix: string): string => {
      failed = true;
      this.problems.push(mistake(keys, what, fix));
      return '';
    };
    const out = text.replaceAll(EXPRESSION, (whole: string, body: string) => {
      const place = this.#place(body);
      if (place !== undefined) return place;
      const input = /^input:(.+)$/.exec(body);
      if (input !== null) return this.#input(input[1]!, keys, childEnv !== undefined, fail);
      const vault = /^vault:(.+)$/.exec(body);
      if (vault !== null) return this.#vault(whole, vault[1]!, keys, fail);
      const match = /^(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-([\s\S]*))?$/.exec(body);
      if (match === null) return fail(`Tollgate cannot read "${whole.slice(0, 60)}".`, 'Write ${NAME} for a variable.');
      const name = match[1]!;
      const value = this.#options.env[name];
      if (childEnv?.has(name) === true && (value === undefined || value === '')) return whole;
      return this.#variable(name, match[2], keys, childEnv !== undefined, fail);
    });
    this.originals.set(placeKey(keys), text);
    return failed ? text : out;
  }

  #variable(
    name: string,
    fallback: string | undefined,
    keys: KeyPath,
    argv: boolean,
    fail: (what: string, fix: string) => string,
  ): string {
    const value = this.#options.env[name];
    const set = value !== undefined && value !== '';
    if (!set && fallback === undefined) {
      return fail(
        `The environment variable ${name} is ${value === undefined ? 'not set' : 'empty'}.`,
        `Set it, or write \${${name}:-default}.`,
      );
    }
    if (argv && isSecretName(name)) {
      return fail(
        `Every user of the machine can read a command line, so ${name} is not expanded in it.`,
        `Pass it as "env": { "${name}": "\${${name}}" }.`,
      );
    }
    this.expansions.push({ path: keys, kind: 'env', name, defaulted: !set });
    return set ? value : fallback!;
  }

  /** Not a form of any client: what `tollgate vault import` leaves behind. */
  #vault(whole: string, body: string, keys: KeyPath, fail: (what: string, fix: string) => string): string {
    const reference = parseReference(body);
    if (reference === undefined) return fail(`"${whole.slice(0, 60)}" names no secret.`, 'Write ${vault:NAME}.');
    if (!isOfServer(keys)) return fail(`${whole} can stand in "env" and "headers" only.`, 'Move it there.');
    const { scope, name } = reference;
    this.expansions.push({
      path: keys,
      kind: 'vault',
      name: scope === 'gateway' ? name : `${scope}/${name}`,
      defaulted: false,
    });
    return markOf(reference);
  }

  /** VS Code asks a person for these; a gateway takes them from the environment. */
  #input(id: string, keys: KeyPath, argv: boolean, fail: (what: string, fix: string) => string): string {
    const name = id
      .replaceAll(/[^A-Za-z0-9]+/g, '_')
      .toUpperCase()
      .replace(/^(?=\d)/, '_');
    const input = this.#inputs.get(id);
    const value = this.#options.env[name];
    if ((value === undefined || value === '') && input?.fallback === undefined) {
      const about = input === undefined || input.description === '' ? '' : ` (${input.description})`;
      return fail(
        `VS Code asks for the input "${id}"${about}; here it is the environment variable ${name}, which is not set.`,
        'Set it.',
      );
    }
    return this.#variable(name, input?.fallback, keys, argv, fail);
  }

  #place(body: string): string | undefined {
    switch (body) {
      case 'workspaceFolder':
      case 'workspaceRoot':
        return this.baseDir;
      case 'workspaceFolderBasename':
        return path.basename(this.baseDir);
      case 'userHome':
        return this.#options.env['HOME'] || homedir();
      case 'pathSeparator':
      case '/':
        return path.sep;
      default:
        return undefined;
    }
  }

  /** The variables of an `envFile`. */
  readEnvFile(name: string, keys: KeyPath): Record<string, string> {
    const file = path.resolve(this.baseDir, name);
    try {
      const values = parseEnv(readFileSync(file, 'utf8'));
      this.expansions.push({ path: keys, kind: 'file', name, defaulted: false });
      return Object.fromEntries(
        Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined),
      );
    } catch {
      this.problems.push(mistake(keys, `The file ${name} cannot be read.`, `It is looked for at ${file}.`));
      return {};
    }
  }
}

function readInputs(value: unknown): Map<string, Input> {
  const inputs = new Map<string, Input>();
  for (const item of Array.isArray(value) ? value : []) {
    const { id, description, default: fallback } = (item ?? {}) as Record<string, unknown>;
    if (typeof id !== 'string') continue;
    inputs.set(id, {
      id,
      description: typeof description === 'string' ? description : '',
      fallback: typeof fallback === 'string' && fallback !== '' ? fallback : undefined,
    });
  }
  return inputs;
}
