/** `tollgate doctor`: looks at the machine, the configuration and the running gateway, and says what to do. */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { delimiter, isAbsolute, join } from 'node:path';
import { formatProblems } from '../config/problems.ts';
import { TollgateError } from '../core/errors.ts';
import { oneLine } from '../core/plain-text.ts';
import { loadCertificate } from '../inbound/certificate.ts';
import type { StatusReport } from '../pipeline/status-report.ts';
import type { StdioTarget } from '../upstream/options.ts';
import { type CommandConfig, loadForCommand } from './configuration.ts';
import { Exit, json, out } from './output.ts';
import { count, isSilent } from './report.ts';
import { control, findRunning } from './running.ts';

interface Finding {
  readonly level: 'fine' | 'warning' | 'problem';
  readonly what: string;
  /** What to do; undefined when all is well. */
  readonly fix: string | undefined;
}

/** Exit 0 when nothing is wrong, 1 when there is a problem. */
export async function doctor(
  [config]: readonly (string | undefined)[],
  options: { readonly json?: boolean },
): Promise<number> {
  const findings: Finding[] = [checkNode(process.versions.node)];
  const command = await load(config, findings);
  if (command !== undefined) {
    findings.push(...(await checkCommands(command)), ...(await checkCertificate(command)), await checkDataDir(command));
    findings.push(...(await checkRunning(command)));
  }
  if (options.json === true) json({ findings });
  else
    for (const { level, what, fix } of findings)
      out(`${MARKS[level]} ${what}${fix === undefined ? '' : `\n    ${fix}`}`);
  return findings.some(({ level }) => level === 'problem') ? Exit.failure : Exit.ok;
}

const MARKS: Readonly<Record<Finding['level'], string>> = { fine: 'ok  ', warning: 'warn', problem: 'FAIL' };

function fine(what: string): Finding {
  return { level: 'fine', what, fix: undefined };
}

/** The first Node 24 with the security fixes of March 2026. */
const SAFE_NODE = [24, 14, 1] as const;

/** What to say of a version of Node. */
export function checkNode(version: string): Finding {
  const parts = version.split('.').map((part) => Number.parseInt(part, 10));
  const at = SAFE_NODE.findIndex((part, i) => part !== parts[i]);
  if (at < 0 || (parts[at] ?? 0) > SAFE_NODE[at]!) return fine(`Node ${version}`);
  const safe = SAFE_NODE.join('.');
  return {
    level: 'warning',
    what: `Node ${version} lacks security fixes of March 2026`,
    fix: `Install Node ${safe} or later, and restart the gateway.`,
  };
}

async function load(config: string | undefined, findings: Finding[]): Promise<CommandConfig | undefined> {
  try {
    const command = await loadForCommand(config, { unapproved: true });
    findings.push(fine(`${command.file} is valid`));
    for (const warning of command.loaded.warnings) {
      findings.push({ level: 'warning', what: formatProblems([warning]), fix: undefined });
    }
    return command;
  } catch (thrown) {
    const error = TollgateError.from(thrown);
    if (error.code === 'internal') throw thrown;
    findings.push({ level: 'problem', what: error.message, fix: undefined });
    return undefined;
  }
}

/** Programs that cannot be found are the most common reason why a server does not start. */
async function checkCommands(command: CommandConfig): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const { name, target } of command.compiled.servers) {
    if (target.kind !== 'stdio') continue;
    const path = await which(target);
    found.push(
      path === undefined
        ? {
            level: 'problem',
            what: `${name}: the program ${target.command} was not found`,
            fix: `Install it, or write its absolute path as servers.${name}.command.`,
          }
        : fine(`${name}: ${path}`),
    );
  }
  return found;
}

async function which(target: StdioTarget): Promise<string | undefined> {
  const { command, cwd, env } = target;
  const search = env['PATH'] ?? process.env['PATH'] ?? '';
  const candidates =
    isAbsolute(command) || command.includes('/')
      ? [isAbsolute(command) ? command : join(cwd, command)]
      : search.split(delimiter).map((folder) => join(folder, command));
  for (const candidate of candidates) {
    try {
      await access(candidate, constants.X_OK);
      return candidate;
    } catch {
      // Not there: the next folder of the search path may have it.
    }
  }
  return undefined;
}

/** Not part of `validate`, which also runs where the key is not. */
async function checkCertificate({ compiled }: CommandConfig): Promise<Finding[]> {
  const { tls } = compiled.inbound;
  if (tls === undefined) return [];
  try {
    const { validTo } = await loadCertificate(tls);
    return [fine(`${tls.cert} and its key fit, until ${validTo.toISOString()}`)];
  } catch (thrown) {
    const { code, message } = TollgateError.from(thrown);
    if (code === 'internal') throw thrown;
    return [
      {
        level: 'problem',
        what: message,
        fix: 'Mend the file, or name another one in tls. Relative paths start at the configuration.',
      },
    ];
  }
}

async function checkDataDir({ dataDir }: CommandConfig): Promise<Finding> {
  try {
    const { mode } = await stat(dataDir);
    if ((mode & 0o077) !== 0 && process.platform !== 'win32') {
      return {
        level: 'warning',
        what: `${dataDir} can be read by other users`,
        fix: `Run: chmod 700 ${dataDir}`,
      };
    }
    await access(dataDir, constants.W_OK);
    return fine(`${dataDir} is private and writable`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return fine(`${dataDir} will be made at the first start`);
    return {
      level: 'problem',
      what: `${dataDir} cannot be used: ${(error as Error).message}`,
      fix: 'Change its owner or mode, or set dataDir.',
    };
  }
}

async function checkRunning(command: CommandConfig): Promise<Finding[]> {
  const running = await findRunning(command.dataDir);
  if (running === undefined) {
    const { host, port } = command.compiled.listen;
    if (port === 0 || (await isFree(host, port))) return [fine(`no gateway is running; ${host}:${port} is free`)];
    return [
      {
        level: 'problem',
        what: `${host}:${port} is taken by another program`,
        fix: 'Stop it, or start with --listen 127.0.0.1:0 to take any free port.',
      },
    ];
  }
  const findings: Finding[] = [fine(`a gateway runs at ${running.url} (process ${running.pid})`)];
  const report = (await (await control(command.dataDir, '/status')).json()) as StatusReport;
  if (report.reloadProblem !== undefined) {
    findings.push({
      level: 'problem',
      what: `the last reload was refused: ${report.reloadProblem}`,
      fix: 'Mend the file and run: tollgate reload',
    });
  }
  for (const server of report.servers) {
    if (isSilent(server)) {
      const fix = 'Wait, or run it by hand to see what it waits for.';
      findings.push({ level: 'warning', what: `${server.name}: has not answered yet`, fix });
      continue;
    }
    findings.push(
      server.problem === undefined
        ? fine(`${server.name}: ${server.state}, ${count(server.tools, 'tool')}`)
        : { level: 'problem', what: `${server.name}: ${server.state}`, fix: oneLine(server.problem) },
    );
  }
  return findings;
}

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen({ host, port }, () => probe.close(() => resolve(true)));
  });
}
