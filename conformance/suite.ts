import { readdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { startChild } from '@tollgate/testkit/child';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { within } from '@tollgate/testkit/wait';

export const VERSIONS = ['2026-07-28', '2025-11-25', '2025-06-18'] as const;
export type Version = (typeof VERSIONS)[number];

/** One failed check of a scenario, named as the official suite names it in its own baseline files. */
export interface Failure {
  /** `scenario:check-id` */
  readonly check: string;
  readonly detail: string;
}

export interface SuiteResult {
  readonly passed: number;
  readonly failures: readonly Failure[];
  /** Names of the scenarios that left a result. */
  readonly scenarios: readonly string[];
  readonly seconds: number;
  /** Output of the suite, for a failed run. */
  readonly output: string;
}

interface Check {
  readonly id: string;
  readonly status: string;
  readonly description?: string;
  readonly errorMessage?: string;
}

const SUITE_BIN = join(
  createRequire(import.meta.url).resolve('@modelcontextprotocol/conformance/package.json'),
  '../dist/index.js',
);
/** Against hanging: below the limit of a test, and far above the minute that a busy machine takes. */
const RUN_LIMIT = 580_000;

/** Runs the server scenarios of one protocol version against `url`. */
export function runServerSuite(url: string, version: Version): Promise<SuiteResult> {
  return runSuite(['server', '--url', url, '--suite', 'all', '--spec-version', version, '--timeout', '30000'], {});
}

/** Runs client scenarios of one version (all of them, or one by name); `command` gets the mock server's URL as last argument. */
export function runClientSuite(command: string, version: Version, scenario?: string): Promise<SuiteResult> {
  // By name extensions run too, which belong to no version.
  const selection = scenario === undefined ? ['--suite', 'all'] : ['--scenario', scenario, '--force'];
  const args = ['client', '--command', command, ...selection, '--spec-version', version, '--timeout', '120000'];
  return runSuite(args, { PATH: process.env['PATH'] });
}

/** Names of the scenarios that the suite holds for a version; those of client mode that need OAuth start with `auth/`. */
export async function listScenarios(mode: 'server' | 'client', version: Version): Promise<string[]> {
  await using child = await startChild(process.execPath, [SUITE_BIN, 'list', `--${mode}`, '--spec-version', version]);
  await within('scenario list', 60_000, child.exited);
  return [...child.stdout().matchAll(/^\s+- (\S+)/gm)].map((match) => match[1] ?? '');
}

async function runSuite(args: readonly string[], env: Record<string, string | undefined>): Promise<SuiteResult> {
  await using folder = await temporaryDirectory('conformance');
  const started = performance.now();
  await using child = await startChild(process.execPath, [SUITE_BIN, ...args, '-o', folder.path], { env });
  await within('end of the conformance suite', RUN_LIMIT, child.exited);
  const seconds = (performance.now() - started) / 1000;
  const mode = args[0];
  let passed = 0;
  const mute: string[] = [];
  const failures: Failure[] = [];
  const scenarios: string[] = [];
  for (const file of await findChecks(folder.path)) {
    const scenario = scenarioOf(file, folder.path, mode === 'server' ? 'server-' : '');
    scenarios.push(scenario);
    const checks = JSON.parse(await readFile(file, 'utf8')) as Check[];
    // A client that ends before its first request leaves no check at all, which the suite does not count as failed.
    if (mode === 'client' && !checks.some((check) => check.status !== 'INFO')) mute.push(scenario);
    for (const check of checks) {
      if (check.status === 'SUCCESS') passed += 1;
      else if (check.status === 'FAILURE' || check.status === 'WARNING') {
        failures.push({ check: `${scenario}:${check.id}`, detail: check.errorMessage ?? check.description ?? '' });
      }
    }
  }
  const output = child.transcript();
  for (const scenario of mute) failures.push({ check: `${scenario}:none`, detail: 'no check was made' });
  // A scenario that threw leaves no file, only this line.
  for (const match of output.matchAll(/^Failed to run scenario (\S+):(.*)$/gm)) {
    const scenario = match[1] ?? '';
    scenarios.push(scenario);
    failures.push({ check: `${scenario}:${scenario}`, detail: match[2]?.trim() ?? '' });
  }
  return { passed, failures, scenarios: scenarios.sort(), seconds, output };
}

async function findChecks(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true });
  return entries.filter((name) => name.endsWith('checks.json')).map((name) => join(folder, name));
}

/** `…/server-tools-list-2026-11-20T19-57-08-796Z/checks.json` holds the scenario `tools-list`. */
function scenarioOf(file: string, folder: string, prefix: string): string {
  const name = file
    .slice(folder.length + 1)
    .replace(/[\\/]checks\.json$/, '')
    .replace(/-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d+Z$/, '');
  return name.startsWith(prefix) ? name.slice(prefix.length) : name;
}
