import { Histogram } from './histogram.ts';
import { LoadClient } from './load-client.ts';
import { callOfSize } from './measure.ts';
import { printTable } from './table.ts';
import { type Candidate, startTargets, type WireTarget } from './wire-targets.ts';

interface Shape {
  readonly title: string;
  readonly form: string;
  /** Bytes of the request body. */
  readonly request: number;
}

const SHAPES: readonly Shape[] = [
  { title: '300 B call, 300 B JSON', form: 'json-300', request: 300 },
  { title: '300 B call, 300 B SSE', form: 'sse-300', request: 300 },
  { title: '300 B call, 100 KB JSON', form: 'json-100k', request: 300 },
  { title: '300 B call, 100 KB SSE', form: 'sse-100k', request: 300 },
  { title: '100 KB call, 300 B JSON', form: 'json-300', request: 100_000 },
];

export interface WireOptions {
  readonly quick: boolean;
  /** Names of targets beside the upstream itself; empty: all. */
  readonly targets: readonly string[];
}

interface Cell {
  best: number;
  readonly histogram: Histogram;
  wrong: number;
  /** Least microseconds of processor time for a call in a round: noise only ever adds. */
  processor: number | undefined;
}

const newCell = (): Cell => ({ best: 0, histogram: new Histogram(), wrong: 0, processor: undefined });
const micros = (nanoseconds: number): string => (nanoseconds / 1000).toFixed(0);

/**
 * Throughput and latency of every target in the same run. Rounds are interleaved, so that a slow moment of the machine
 * hits all; throughput is the best round, latency is of all rounds. Nothing is pinned: the generator, the proxy and
 * the upstream share the machine's cores, which costs every proxy alike. Beside it stands the processor time of the
 * target for a call, and the bare pass-through's divided by it: what the throughput would say with a core for each.
 */
export async function benchWire(options: WireOptions): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const candidates = await startTargets(stack, options.targets);
  const targets = candidates.filter((candidate): candidate is WireTarget => typeof candidate !== 'string');
  for (const reason of candidates.filter(
    (candidate): candidate is string & Candidate => typeof candidate === 'string',
  )) {
    console.log(reason);
  }
  const load = stack.use(new LoadClient());
  const connectionCounts = options.quick ? [32] : [1, 32, 256];
  const shapes = options.quick ? SHAPES.slice(0, 3) : SHAPES;
  const rounds = options.quick ? 2 : 3;
  const duration = options.quick ? 700 : 1_500;

  for (const shape of shapes) {
    const body = callOfSize(shape.request);
    const rows: string[][] = [];
    let capacity: number | undefined;
    for (const connections of connectionCounts) {
      const cells = new Map<string, Cell>(targets.map(({ name }) => [name, newCell()]));
      for (let round = 0; round < rounds; round += 1) {
        for (const target of targets) {
          const order = { port: target.port, path: target.path(shape.form), body, connections };
          const result = await load.measure({ ...order, warmUp: round === 0 ? 1_000 : 200, duration }, target.pid);
          record(cells, target, result);
        }
      }
      rows.push(...closedRows(connections, targets, cells));
      if (connections === 32) capacity = cells.get('gateway')?.best ?? cells.get('passthrough')?.best;
    }
    console.log(`\n${shape.title}`);
    printTable(
      ['connections', 'target', 'calls/s', 'of nginx', 'of bare', 'CPU µs', 'of bare', 'p50 µs', 'p99 µs', 'wrong'],
      rows,
    );
    if (shape === SHAPES[0] && capacity !== undefined) {
      await halfLoad(load, targets, shape, body, Math.floor(capacity / 2), options.quick);
    }
  }
}

function record(
  cells: Map<string, Cell>,
  target: WireTarget,
  result: Awaited<ReturnType<LoadClient['measure']>>,
): void {
  const cell = cells.get(target.name) as Cell;
  cell.best = Math.max(cell.best, result.perSecond);
  cell.histogram.merge(result.histogram);
  cell.wrong += result.wrong;
  if (result.processor !== undefined) cell.processor = Math.min(cell.processor ?? Infinity, result.processor);
}

function closedRows(connections: number, targets: readonly WireTarget[], cells: ReadonlyMap<string, Cell>): string[][] {
  const of = (cell: Cell, name: string): string => {
    const other = cells.get(name)?.best;
    return other === undefined || other === 0 ? '-' : (cell.best / other).toFixed(2);
  };
  const bare = cells.get('passthrough')?.processor;
  const ofProcessor = (cell: Cell): string =>
    bare === undefined || cell.processor === undefined || cell.processor === 0
      ? '-'
      : (bare / cell.processor).toFixed(2);
  return targets.map(({ name }) => {
    const cell = cells.get(name) as Cell;
    const { histogram } = cell;
    return [
      String(connections),
      name,
      cell.best.toFixed(0),
      of(cell, 'nginx'),
      of(cell, 'passthrough'),
      cell.processor?.toFixed(0) ?? '-',
      ofProcessor(cell),
      micros(histogram.percentile(50)),
      micros(histogram.percentile(99)),
      String(cell.wrong),
    ];
  });
}

/** The same rate for all, half of what the gateway can do: what each adds to the latency of the upstream alone. */
async function halfLoad(
  load: LoadClient,
  targets: readonly WireTarget[],
  shape: Shape,
  body: string,
  rate: number,
  quick: boolean,
): Promise<void> {
  const cells = new Map<string, Cell>(targets.map(({ name }) => [name, newCell()]));
  for (let round = 0; round < (quick ? 2 : 4); round += 1) {
    for (const target of targets) {
      const order = { port: target.port, path: target.path(shape.form), body, connections: 32, rate };
      const paced = { ...order, warmUp: 300, duration: quick ? 700 : 2_000 };
      record(cells, target, await load.measure(paced, target.pid));
    }
  }
  const direct = cells.get('direct')?.histogram ?? new Histogram();
  console.log(`\n${shape.title}, ${rate} calls/s evenly spaced (half of the gateway's best), 32 connections`);
  printTable(
    ['target', 'p50 µs', 'p99 µs', 'added p50', 'added p99', 'wrong'],
    targets.map(({ name }) => {
      const { histogram, wrong } = cells.get(name) as Cell;
      const added = (percent: number): string => micros(histogram.percentile(percent) - direct.percentile(percent));
      return [
        name,
        micros(histogram.percentile(50)),
        micros(histogram.percentile(99)),
        added(50),
        added(99),
        String(wrong),
      ];
    }),
  );
}
