/** What the running configuration leaves open. */
import type { ConfigurationView } from '../../../pipeline/operations-port.ts';
import { bySeverity, type Finding } from './finding.ts';
import { insecureUrl, isLoopback } from './members.ts';
import { scanContent } from './scan.ts';
import { type FoundTool, scanTools } from './tools.ts';

/** Tools without a price that are named one by one. */
const MAX_UNPRICED = 10;

/** Findings on the configuration in force and on the catalog it leads to, the worst first. */
export function scanConfiguration(view: ConfigurationView): readonly Finding[] {
  return bySeverity([
    ...view.plainSecrets.map(
      (where): Finding => ({
        id: 'plain_secret',
        severity: 'high',
        where,
        what: 'A secret in plain text in the configuration.',
        fix: 'Move it to the environment or a file and write ${env:NAME} or ${file:/path}.',
      }),
    ),
    ...exposure(view),
    ...view.wildcards.map(
      ({ path, who, may }): Finding => ({
        id: 'wildcard_access',
        severity: 'medium',
        where: path,
        what: `A rule that lets ${who} use ${may}.`,
        fix: 'Name who may use what.',
      }),
    ),
    ...limits(view),
    ...view.urls.filter(({ url }) => isOpen(url)).map(({ path }) => insecureUrl(path)),
    ...catalog(view),
  ]);
}

function exposure({ listenHost, adminHost, anonymous, hasAuth }: ConfigurationView): Finding[] {
  const findings: Finding[] = [];
  if (!isLoopbackHost(listenHost) && (anonymous || !hasAuth)) {
    findings.push({
      id: 'anonymous_exposure',
      severity: 'high',
      where: 'auth',
      what: 'Callers beyond this machine need no credential.',
      fix: 'Add an entry to `auth` and remove `anonymous`, or listen on 127.0.0.1.',
    });
  }
  if (!isLoopbackHost(adminHost)) {
    findings.push({
      id: 'admin_exposure',
      severity: 'medium',
      where: 'admin',
      what: 'The admin surfaces can be reached from other machines.',
      fix: 'Set `admin: 127.0.0.1:7118`.',
    });
  }
  return findings;
}

function limits({ limits: names, limitsMoney, unpriced, tools }: ConfigurationView): Finding[] {
  const findings: Finding[] = [];
  if (names.length === 0) {
    findings.push({
      id: 'missing_limits',
      severity: 'medium',
      where: 'limits',
      what: 'Nothing is limited: one caller in a loop takes everything.',
      fix: 'Add a limit, for example `calls: { by: principal, limit: 60/min }`, or `preset: mcp`.',
    });
  }
  if (!limitsMoney || unpriced === 'refuse') return findings;
  for (const { server, name } of tools.filter(({ priced }) => !priced).slice(0, MAX_UNPRICED)) {
    findings.push({
      id: 'unpriced_tool',
      severity: 'low',
      where: `tools.${server}/${name}`,
      what: 'Money is limited, but calls of this tool cost nothing that is known.',
      fix: 'Give it a `price`, or set `unpriced: refuse`.',
    });
  }
  return findings;
}

function catalog({ tools }: ConfigurationView): Finding[] {
  const findings: Finding[] = [];
  const found: FoundTool[] = [];
  for (const { server, name, definition } of tools) {
    const where = `${server}/${name}`;
    for (const finding of scanContent(definition)) {
      // Names and shadowing are judged below, with all servers in sight.
      if (finding.id === 'tool_shadowing' || finding.id === 'homoglyph_name') continue;
      findings.push({ ...finding, where: `${where}${finding.where.slice(1)}` });
    }
    found.push({ server, name, where, definition: definition as Readonly<Record<string, unknown>> });
  }
  return [...findings, ...scanTools(found).filter(({ id }) => id === 'tool_shadowing' || id === 'homoglyph_name')];
}

function isOpen(url: string): boolean {
  const parsed = URL.parse(url);
  return parsed?.protocol === 'http:' && !isLoopback(parsed.hostname);
}

function isLoopbackHost(host: string): boolean {
  return host === '::1' || isLoopback(host);
}
