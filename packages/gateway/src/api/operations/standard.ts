import { checkMcpLimit } from './check-mcp-limit.ts';
import { emergencyStop } from './emergency-stop.ts';
import { getMcpStatistics } from './get-mcp-statistics.ts';
import { getStatus } from './get-status.ts';
import type { Operation } from './operation.ts';
import { resetLimits } from './reset-limits.ts';
import { scan, securityScan } from './security-scan.ts';
import { setClientTier } from './set-client-tier.ts';
import { validateEndpoint } from './validate-endpoint.ts';

/** The operations that every gateway has, in the order in which they are listed. */
export function standardOperations(): readonly Operation[] {
  return [
    checkMcpLimit,
    setClientTier,
    getMcpStatistics,
    scan,
    securityScan,
    getStatus,
    validateEndpoint,
    resetLimits,
    emergencyStop,
  ];
}
