import { resolve } from 'node:path';
import { listScenarios, runClientSuite, type SuiteResult, VERSIONS, type Version } from './suite.ts';

function command(program: string): string {
  return `"${process.execPath}" "${resolve(import.meta.dirname, program)}"`;
}

/** All client scenarios with the driver alone: the baseline that the driver itself is right. */
export function runClientScenariosDirect(version: Version): Promise<SuiteResult> {
  return runClientSuite(command('client-driver.ts'), version);
}

/**
 * The client scenarios that need no sign-in, each with a gateway of its own between the driver and the mock server.
 * Two at a time: a gateway per scenario is the work of a core.
 */
export async function runClientScenarios(version: Version): Promise<SuiteResult> {
  const names = (await listScenarios('client', version)).filter((name) => !name.startsWith('auth/'));
  return runEach('client-through-gateway.ts', version, names);
}

/** Extensions that the suite does not score in any version; those of drafts (DPoP, workload identity) are not here. */
const EXTENSIONS = [
  'auth/client-credentials-jwt',
  'auth/client-credentials-basic',
  'auth/enterprise-managed-authorization',
];

/** The sign-in scenarios of a version, and with the newest the extensions, with the gateway's own OAuth client. */
export async function runSignInScenarios(version: Version, only?: readonly string[]): Promise<SuiteResult> {
  if (only !== undefined) return runEach('client-auth-gateway.ts', version, only);
  const names = (await listScenarios('client', version)).filter((name) => name.startsWith('auth/'));
  const more = version === VERSIONS[0] ? EXTENSIONS : [];
  return runEach('client-auth-gateway.ts', version, [...names, ...more]);
}

async function runEach(program: string, version: Version, names: readonly string[]): Promise<SuiteResult> {
  const started = performance.now();
  const results: SuiteResult[] = [];
  const queue = [...names];
  const worker = async (): Promise<void> => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
      results.push(await runClientSuite(command(program), version, name));
    }
  };
  await Promise.all([worker(), worker()]);
  return {
    passed: results.reduce((sum, result) => sum + result.passed, 0),
    failures: results.flatMap((result) => result.failures),
    scenarios: results.flatMap((result) => result.scenarios).sort(),
    seconds: (performance.now() - started) / 1000,
    output: results.map((result) => result.output).join('\n'),
  };
}
