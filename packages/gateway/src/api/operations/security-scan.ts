import * as z from 'zod';
import { mayDo, rolesOf } from '../../access/rights.ts';
import type { OperationsPort } from '../../pipeline/operations-port.ts';
import type { PlainObject } from './bounds.ts';
import { subjectOf } from './caller.ts';
import { clientId, endpoint } from './fields.ts';
import { defineOperation, type Operation, type OperationContext, type OperationResult } from './operation.ts';
import { OperationProblem } from './problem.ts';
import { scanConfiguration } from './scan/configuration.ts';
import { blocks, bySeverity, type Finding, isThreat } from './scan/finding.ts';
import { COMPONENT, findingsOf } from './security-metadata.ts';

const TARGETS = ['content', 'configuration', 'all'] as const;

const input = z.object({
  client_id: clientId,
  endpoint,
  target: z.enum(TARGETS, { error: `target must be one of ${TARGETS.join(', ')}` }).optional(),
});

/** Members that address the operation and are not what is to be scanned. */
const ADDRESS = new Set(['operation', 'client_id', 'endpoint', 'target', 'estimated_cost', 'tier']);

export const scan = scanOperation('scan');
export const securityScan = scanOperation('security_scan');

/** Looks for attacks in what is supplied, and for openings in the running configuration (R0-37, X0-07). */
function scanOperation(name: 'scan' | 'security_scan'): Operation {
  return defineOperation({
    name,
    about:
      'Look for attacks in everything that is supplied; without content, or by target, in the running configuration.',
    roles: rolesOf(`op.${name}`),
    input,
    run: scanFor,
  });
}

async function scanFor(read: z.output<typeof input>, context: OperationContext): Promise<OperationResult> {
  const { port, caller, members } = context;
  const insight = mayDo(caller.roles, 'insight.read', 'others');
  if (!insight && (read.target === 'configuration' || read.target === 'all')) {
    throw new OperationProblem(
      'access_denied',
      'A scan of the configuration needs the role operator, auditor or admin.',
    );
  }
  const supplied = Object.keys(members).some((key) => !ADDRESS.has(key));
  const target = read.target ?? (supplied || !insight ? 'content' : 'configuration');
  const { client, id } = await subjectOf(read.client_id, caller, port, 'read');
  const findings = bySeverity([
    ...(target === 'configuration' ? [] : findingsOf(members)),
    ...(target === 'content' ? [] : scanConfiguration(port.configuration())),
  ]);
  const threats = findings.filter(isThreat);
  const blocked = threats.some(blocks);
  return {
    allowed: !blocked,
    reason: blocked ? 'security_threats_detected' : 'security_scan_allowed',
    threats_detected: threats.length,
    threats: findings.map(({ id: finding, severity, where, what, fix }: Finding) => ({
      id: finding,
      severity,
      where,
      what,
      fix,
    })),
    action: blocked ? 'BLOCK' : 'ALLOW',
    plugin_name: COMPONENT,
    metadata: {
      client_id: id,
      scanned: target,
      rate_limit_status: await rateLimitStatus({ port, client }, endpointOf(members, read.endpoint)),
    },
  };
}

function endpointOf(members: PlainObject, asked: string): string {
  return members['endpoint'] === undefined ? 'tools/call' : asked;
}

/** Where the client stands now; a scan charges nothing. */
async function rateLimitStatus(
  { port, client }: { readonly port: OperationsPort; readonly client: Parameters<OperationsPort['statistics']>[0] },
  endpointName: string,
): Promise<'within_limits' | 'exceeded'> {
  const [answer] = await port.decide([
    { client, endpoint: endpointName, name: undefined, cost: 0, tier: undefined, mode: 'peek' },
  ]);
  return answer?.allowed === true ? 'within_limits' : 'exceeded';
}
