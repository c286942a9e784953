/** The status report as text, for `tollgate status` and the start-up print. */
import { oneLine } from '../core/plain-text.ts';
import type { EndpointReport, ServerReport, StatusReport } from '../pipeline/status-report.ts';
import type { RefusedReason } from '../telemetry/refused-callers.ts';

export function renderStatus(report: StatusReport): string {
  const lines = [
    `tollgate ${report.version}, process ${report.pid}, since ${report.startedAt}, configuration ${report.configuration} (${ordinal(report.generation)})`,
  ];
  if (!report.ready) lines.push('Not ready yet: some servers have not been tried.');
  if (report.reloadProblem !== undefined) lines.push(`The last reload was refused: ${report.reloadProblem}`);
  lines.push('', ...renderServers(report.servers), '', ...renderEndpoints(report.endpoints), '');
  lines.push(...renderIdentity(report.identity), ...renderLimits(report), ...renderState(report.state));
  const { calls } = report;
  const refused = Object.entries(report.refusedCallers).filter(([, count]) => count > 0);
  lines.push(
    `Calls: ${calls.total}, ${calls.successful} answered, ${calls.failed} failed, ${calls.refused} refused. Sessions: ${report.sessions}. Streams: ${report.streams}.`,
  );
  if (refused.length > 0) {
    const told = refused.map(([reason, count]) => `${count} ${REFUSED[reason as keyof typeof REFUSED] ?? reason}`);
    lines.push(`Callers refused: ${told.join(', ')}.`);
  }
  return lines.join('\n');
}

const REFUSED: Readonly<Record<RefusedReason, string>> = {
  no_credential: 'without a credential',
  not_accepted: 'with one that no entry accepts',
  unchecked: 'with one that could not be checked',
  blocked: 'blocked',
  insufficient_scope: 'without a scope',
  access_rule: 'by a rule on arguments',
  hidden: 'for names that rules hide',
};

/** How the next commands must be written to work where the gateway was started. */
export interface NextCommands {
  readonly program: string;
  /** CONFIG, where the file is not the one they find by themselves. */
  readonly config: string | undefined;
}

const NEXT_REASONS = [
  'let an MCP client use it (also: claude, claude-desktop, vscode, codex)',
  'see what is running',
  'see calls as they finish',
];

/** What the person who started the gateway needs: servers, endpoint, what is enforced, what to do next. */
export function renderStart(report: StatusReport, mainPath: string, next: NextCommands): string {
  const lines = [`tollgate ${report.version}`, '', ...renderServers(report.servers), ''];
  for (const endpoint of report.endpoints)
    for (const conflict of endpoint.conflicts) lines.push(`  ${oneLine(conflict)}`);
  lines.push(
    ...renderEndpoints(report.endpoints),
    '',
    ...renderIdentity(report.identity),
    ...renderLimits(report),
    ...renderState(report.state),
    '',
    'Next:',
  );
  const commands = ['connect cursor', 'status', 'tail'].map((command) =>
    [next.program, command, ...(next.config === undefined ? [] : [next.config])].join(' '),
  );
  const width = Math.max(...commands.map((command) => command.length));
  for (const [index, why] of NEXT_REASONS.entries()) lines.push(`  ${(commands[index] ?? '').padEnd(width)}   ${why}`);
  const main = report.endpoints.find((endpoint) => endpoint.path === mainPath);
  if (main !== undefined) lines.push('', `Ready at ${main.url}`);
  return lines.join('\n');
}

/** One block per server: state, tools, size of their definitions, and what is wrong with the exact fix. */
export function renderServers(servers: readonly ServerReport[]): string[] {
  if (servers.length === 0) return ['No servers are configured.'];
  const width = Math.max(...servers.map((server) => server.name.length));
  return servers.flatMap((server) => {
    const offer =
      server.state === 'ready' || server.tools > 0
        ? `${count(server.tools, 'tool')}, ${count(server.tokens, 'token')}`
        : '';
    const head = `  ${server.name.padEnd(width)}  ${STATES[server.state].padEnd(14)}${offer}`;
    // Refusals keep the address from callers; who operates the gateway needs it.
    const where = server.state !== 'ready' && server.transport !== 'stdio' ? `  ${oneLine(server.target)}` : '';
    const lines = [head.trimEnd() + where];
    if (isSilent(server)) lines.push(`  ${' '.repeat(width)}  It has not answered yet.`);
    if (server.problem !== undefined) lines.push(`  ${' '.repeat(width)}  ${oneLine(server.problem)}`);
    for (const warning of server.warnings.slice(0, 5)) lines.push(`  ${' '.repeat(width)}  ${oneLine(warning)}`);
    for (const line of server.state === 'failed' ? server.stderr.slice(-5) : []) {
      lines.push(`  ${' '.repeat(width)}  | ${oneLine(line)}`);
    }
    return lines;
  });
}

/** Tried, and neither usable nor failed: it may be slow, or never answer. */
export function isSilent(server: ServerReport): boolean {
  return server.state === 'starting' && server.tools === 0 && server.problem === undefined;
}

export function renderEndpoints(endpoints: readonly EndpointReport[]): string[] {
  return endpoints
    .filter((endpoint) => !endpoint.path.startsWith('/s/'))
    .map(
      (endpoint) =>
        `  ${endpoint.url}  ${count(endpoint.tools, 'tool')}, ${count(endpoint.prompts, 'prompt')}, ${count(endpoint.resources, 'resource')}, ${count(endpoint.tokens, 'token')} of definitions`,
    );
}

/** Issuers that are away, and what that means for their tokens. */
export function renderIdentity(issuers: StatusReport['identity']): string[] {
  const lines = issuers.flatMap(({ entry, problem, keys }) => {
    if (problem === undefined) return [];
    const means =
      keys > 0 ? `it goes on with the ${count(keys, 'key')} it has` : 'its tokens are refused until they come';
    return `  ${entry}: the keys of its issuer cannot be fetched, ${means}. ${oneLine(problem)}`;
  });
  return lines.length === 0 ? [] : ['Callers:', ...lines];
}

export function renderLimits({ accessRules, limits }: Pick<StatusReport, 'accessRules' | 'limits'>): string[] {
  if (accessRules === undefined && limits.length === 0)
    return ['No limits and no `access` rules are configured: who may call may call everything, as often as they like.'];
  const access =
    accessRules === undefined ? [] : [`  access: ${count(accessRules, 'rule')}; what none allows is hidden`];
  return ['Enforced:', ...access, ...limits.map((limit) => `  ${limit}`)];
}

/** What is wrong with counters, money and storage, and what the ledger and the counters differ by. */
export function renderState(state: StatusReport['state']): string[] {
  if (state === undefined || state.kind === 'transient') return [];
  const lines = state.problems.map((problem) => `  ${oneLine(problem)}`);
  if (state.ledgerWaiting > 0) lines.push(`  ${count(state.ledgerWaiting, 'write')} to the ledger wait.`);
  const { drift } = state;
  if (drift !== undefined && drift.amount !== 0) {
    lines.push(
      `  Counters and ledger differ by ${drift.amount / 1e6} units of money (${new Date(drift.at).toISOString()}).`,
    );
  }
  return lines.length === 0 ? [] : ['State:', ...lines];
}

const STATES: Readonly<Record<ServerReport['state'], string>> = {
  idle: 'idle',
  starting: 'starting',
  ready: 'ready',
  failed: 'failed',
  login_required: 'needs sign-in',
  stopped: 'stopped',
};

export function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}

function ordinal(generation: number): string {
  return generation === 1 ? 'as started' : `reloaded ${generation - 1}×`;
}
