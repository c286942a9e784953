import { choice, map, section } from './kit.ts';
import { serverNameProblem } from './names.ts';

const POLICIES = ['allow', 'warn', 'block'] as const;

const ofServer = section({
  new: choice(POLICIES).optional().describe('As above, for this server.'),
  changed: choice(POLICIES).optional().describe('As above, for this server.'),
});

export const trust = section({
  new: choice(POLICIES)
    .prefault('allow')
    .describe(
      'A tool, prompt or resource template that was never seen before. `allow`: its definition is pinned as it is; `warn`: it is served, and shown until somebody approves it; `block`: it is neither listed nor called until then.',
    ),
  changed: choice(POLICIES)
    .prefault('warn')
    .describe('One whose definition, or whose server’s command or address, differs from what was approved.'),
  servers: map(ofServer, 'servers', serverNameProblem).prefault({}).describe('Other answers for single servers.'),
  environment: choice(['warn', 'refuse'])
    .optional()
    .describe(
      'Variables in `env` of a server that load code into it or change which programs are found (`LD_*`, `NODE_OPTIONS`, `PATH`, …). Default: `warn` on loopback, `refuse` beyond.',
    ),
  sameUser: choice(['refuse', 'allow'])
    .prefault('refuse')
    .describe(
      'A program of a server runs as the user of the gateway, so it can read a master key that the vault has in a file. Beyond loopback that is refused unless this says `allow`; on loopback it is a warning.',
    ),
}).describe('What becomes of definitions of servers that nobody has approved; see [trust.md](trust.md).');
