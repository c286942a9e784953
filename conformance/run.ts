/**
 * npm run conformance [-- --only a,b,c,d,client,auth] [--version 2026-07-28,…] [--direct] [--verbose]
 * Runs the official suite through the gateway, prints one row per target and version, and fails on every failure that
 * expected-failures.yaml does not hold and on every entry there that no longer fails.
 */
import { parseArgs } from 'node:util';
import { runClientScenarios, runClientScenariosDirect, runSignInScenarios } from './client-scenarios.ts';
import { expectedFailures, judge } from './expectations.ts';
import { listScenarios, runServerSuite, type SuiteResult, VERSIONS, type Version } from './suite.ts';
import { startTarget, TARGETS, type TargetLetter } from './targets.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: 'a,b,c,d,client,auth' },
    version: { type: 'string', default: VERSIONS.join(',') },
    direct: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
  },
});

const versions = values.version.split(',').map((version) => {
  if (!VERSIONS.includes(version as Version))
    throw new Error(`--version ${version}: choose from ${VERSIONS.join(', ')}`);
  return version as Version;
});
const targets = values.only.split(',').map((letter) => {
  if (letter !== 'client' && letter !== 'auth' && !Object.hasOwn(TARGETS, letter))
    throw new Error(`--only ${letter}: choose from a,b,c,d,client,auth`);
  return letter as TargetLetter | 'client' | 'auth';
});

let failed = false;
console.log(
  `${'target'.padEnd(34)}${'version'.padEnd(12)}${'scenarios'.padStart(10)}${'passed'.padStart(8)}${'failed'.padStart(8)}${'expected'.padStart(10)}${'seconds'.padStart(9)}`,
);
for (const target of targets) {
  for (const version of versions) {
    if (values.direct && !reachableDirectly(target, version)) continue;
    if (target === 'auth') {
      const result = await runSignInScenarios(version);
      report('client', 'sign-in scenarios', version, result, result.scenarios.length, result.output);
      continue;
    }
    if (target === 'client') {
      const result = await (values.direct ? runClientScenariosDirect(version) : runClientScenarios(version));
      report('client', 'client scenarios', version, result, result.scenarios.length, result.output);
      continue;
    }
    await using running = await startTarget(target, values.direct);
    const [result, scenarios] = await Promise.all([
      runServerSuite(running.url, version),
      listScenarios('server', version),
    ]);
    const { name, title } = TARGETS[target];
    report(name, `${target} ${title}`, version, result, scenarios.length, running.transcript());
  }
}
process.exitCode = failed ? 1 : 0;

/** Without a gateway a server of one era has nothing to say to the other, and a stdio server has no URL. */
function reachableDirectly(target: TargetLetter | 'client' | 'auth', version: Version): boolean {
  if (target === 'd' || target === 'auth') return false;
  if (target === 'b') return version !== '2026-07-28';
  return target !== 'c' || version === '2026-07-28';
}

function report(
  name: Parameters<typeof expectedFailures>[0],
  title: string,
  version: Version,
  result: SuiteResult,
  scenarios: number,
  transcript: string,
): void {
  const verdict = judge(result, values.direct ? [] : expectedFailures(name, version));
  const count = `${result.scenarios.length}/${scenarios}`;
  console.log(
    `${title.padEnd(34)}${version.padEnd(12)}${count.padStart(10)}${String(result.passed).padStart(8)}${String(result.failures.length).padStart(8)}${String(verdict.expected).padStart(10)}${result.seconds.toFixed(1).padStart(9)}`,
  );
  const incomplete = result.scenarios.length !== scenarios;
  if (incomplete) console.log(`  ✗ ${scenarios - result.scenarios.length} scenarios left no result`);
  for (const check of verdict.unexpected) console.log(`  ✗ ${check.slice(0, 240)}`);
  for (const check of verdict.stale)
    console.log(`  ✗ stale: ${check} passes now, delete it from expected-failures.yaml`);
  if (verdict.unexpected.length > 0 || verdict.stale.length > 0 || incomplete) {
    failed = true;
    if (values.verbose) console.log(`${result.output}\n${transcript}`);
  }
}
