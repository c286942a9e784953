/**
 * npm run bench [-- --only stages,peers,redis,wire,scale,operations] [--quick] [--targets passthrough,nginx,gateway]
 * Figures to compare within one run, not between machines: ratios first, absolute numbers beside them.
 */
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { benchOperations } from './operations.ts';
import { benchPeers } from './peers.ts';
import { benchRedis } from './redis.ts';
import { benchScale } from './scale.ts';
import { benchStages } from './stages.ts';
import { benchWire } from './wire.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: 'stages,peers,redis,wire,scale,operations' },
    quick: { type: 'boolean', default: false },
    targets: { type: 'string', default: '' },
  },
});
const { quick } = values;
const parts: Record<string, () => Promise<void>> = {
  stages: () => benchStages(quick),
  peers: () => benchPeers(quick),
  redis: () => benchRedis(quick),
  wire: () => benchWire({ quick, targets: values.targets.split(',').filter((name) => name !== '') }),
  scale: () => benchScale(quick),
  operations: () => benchOperations(quick),
};

const [cpu] = cpus();
console.log(`node ${process.version}, ${cpus().length} cores (${cpu?.model ?? 'unknown'}), nothing pinned to a core`);
for (const name of values.only.split(',')) {
  const part = parts[name];
  if (part === undefined) throw new Error(`--only ${name}: choose from ${Object.keys(parts).join(', ')}`);
  console.log(`\n== ${name}`);
  await part();
}
