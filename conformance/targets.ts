import { resolve } from 'node:path';
import { type Child, startChild } from '@tollgate/testkit/child';
import { type RunningGateway, startGateway } from '@tollgate/testkit/gateway';

const FIXTURE = resolve(import.meta.dirname, 'fixture/main.ts');

/** What stands behind the gateway: the letters are those of the command line. */
export const TARGETS = {
  a: { name: 'dual', title: 'both eras over HTTP' },
  b: { name: 'legacy', title: 'legacy only over HTTP' },
  c: { name: 'modern', title: 'modern only over HTTP' },
  d: { name: 'stdio', title: 'both eras over stdio' },
} as const;
export type TargetLetter = keyof typeof TARGETS;
export type TargetName = (typeof TARGETS)[TargetLetter]['name'];

export interface RunningTarget extends AsyncDisposable {
  /** What the suite is pointed at. `localhost`, because the suite's rebinding checks need that name. */
  readonly url: string;
  /** Output of the fixture and the gateway, for a failed run. */
  transcript(): string;
}

/** Starts the fixture, and the gateway in front of it unless `direct`. Over stdio there is nothing to reach directly. */
export async function startTarget(letter: TargetLetter, direct = false): Promise<RunningTarget> {
  const { name } = TARGETS[letter];
  if (name === 'stdio') {
    if (direct)
      throw new Error('Target d has no URL of its own: a stdio server can only be reached through the gateway');
    const gateway = await startGateway({
      version: 1,
      // A machine that starts it slowly would have it taken for a legacy server, which it is too; others test the probe.
      servers: { everything: { command: process.execPath, args: [FIXTURE, 'stdio'], protocol: 'modern' } },
    });
    return running(gateway, undefined);
  }
  const fixture = await startChild(process.execPath, [FIXTURE, 'http', name]);
  try {
    const url = (await fixture.waitFor(/fixture on (\S+)/))[1] ?? '';
    if (direct) {
      return { url, transcript: fixture.transcript, [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose]() };
    }
    return running(await startGateway({ version: 1, servers: { everything: { url } } }), fixture);
  } catch (error) {
    await fixture[Symbol.asyncDispose]();
    throw error;
  }
}

function running(gateway: RunningGateway, fixture: Child | undefined): RunningTarget {
  return {
    url: gateway.url('/mcp', 'localhost'),
    transcript: () => [fixture?.transcript() ?? '', gateway.child.transcript()].join('\n'),
    [Symbol.asyncDispose]: async () => {
      await gateway[Symbol.asyncDispose]();
      await fixture?.[Symbol.asyncDispose]();
    },
  };
}
