import { resolve } from 'node:path';
import { listScenarios, runClientSuite, type SuiteResult, type Version } from './suite.ts';

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
  const started = performance.now();
  const results: SuiteResult[] = [];
  const queue = [...names];
  const worker = async (): Promise<void> => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
      results.push(await runClientSuite(command('client-through-gateway.ts'), version, name));
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
