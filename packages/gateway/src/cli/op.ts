/** `tollgate op`: one operation, or a list of them, through the running gateway. */
import { text as readAll } from 'node:stream/consumers';
import { standardOperations } from '../api/operations/standard.ts';
import { TollgateError } from '../core/errors.ts';
import { loadForCommand } from './configuration.ts';
import { notRunning } from './next-command.ts';
import { Exit, json, out } from './output.ts';
import { pinnedFetch } from './pinned-fetch.ts';
import { adminToken, findRunning } from './running.ts';

/** Milliseconds for an answer; a batch of a thousand takes a fraction of it. */
const ANSWER_MS = 30_000;

interface OpOptions {
  readonly input?: string;
  readonly json?: boolean;
}

/**
 * Without `--input` the operation's own defaults run: a check of `anonymous` that costs nothing. Exit code 0 when every
 * operation was answered, a denial included; 1 when one was an error.
 */
export async function op(positional: readonly (string | undefined)[], options: OpOptions): Promise<number> {
  const [first] = positional;
  if (first === 'list') return list(options.json === true);
  const { dataDir } = await loadForCommand(first, { unapproved: true });
  const answer = await ask(dataDir, await inputOf(options.input));
  json(answer);
  const answers = (Array.isArray(answer) ? answer : [answer]) as readonly { readonly status?: string }[];
  return answers.every(({ status }) => status === 'success') ? Exit.ok : Exit.failure;
}

function list(asJson: boolean): number {
  const operations = standardOperations().map(({ name, about, roles }) => ({ name, about, roles }));
  if (asJson) json(operations);
  else
    for (const { name, about, roles } of operations)
      out(`${name.padEnd(20)} ${about}\n${' '.repeat(21)}roles: ${roles.join(', ')}`);
  return Exit.ok;
}

/** The text is sent as it is, so that the gateway judges what was written. */
async function inputOf(input: string | undefined): Promise<string> {
  const text = input === undefined ? '{}' : input === '-' ? await readAll(process.stdin) : input;
  try {
    JSON.parse(text);
  } catch {
    throw new TollgateError('usage', `--input must be JSON, for example --input '{"operation":"get_status"}'`);
  }
  return text;
}

async function ask(dataDir: string, body: string): Promise<unknown> {
  const running = await findRunning(dataDir);
  if (running === undefined) {
    throw notRunning();
  }
  let response: Response;
  try {
    const init = {
      method: 'POST',
      signal: AbortSignal.timeout(ANSWER_MS),
      headers: { authorization: `Bearer ${await adminToken(dataDir)}`, 'content-type': 'application/json' },
      body,
    };
    response = await pinnedFetch(new URL('/v1/ops', running.control), init, running.pin);
    return await response.json();
  } catch (error) {
    throw new TollgateError(
      'gateway_not_running',
      `The gateway (process ${running.pid}) does not answer at ${running.control}`,
      { cause: error },
    );
  }
}
