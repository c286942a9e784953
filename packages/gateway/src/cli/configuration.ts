/** The configuration as commands need it: loaded, approved, compiled. */
import { createInterface } from 'node:readline/promises';
import { stateFolder as folderOf, type LoadedConfig } from '../config/assemble.ts';
import { type CompiledConfig, compile } from '../config/compile.ts';
import { type ConsentReview, formatReview } from '../config/consent.ts';
import { loadConfig } from '../config/load.ts';
import { withoutControls } from '../core/plain-text.ts';

export interface CommandConfig {
  readonly loaded: LoadedConfig;
  readonly compiled: CompiledConfig;
  /** Absolute path of the file. */
  readonly file: string;
  readonly dataDir: string;
  /** It was found in this folder, not named, so each change of it needs consent. */
  readonly found: boolean;
  /** URL at which a gateway of this configuration listens, when it runs. */
  readonly url: string;
  /** Path of the endpoint that clients are connected to: `/mcp`, or the first. */
  readonly mainPath: string;
}

export interface LoadFlags {
  readonly trust?: boolean;
  /** The command starts nothing, so a configuration that was found needs no approval. */
  readonly unapproved?: boolean;
  /** The named file was found by the gateway that runs it. */
  readonly found?: boolean;
  /** `host:port` in place of the configured address. */
  readonly listen?: string;
}

/** Loads CONFIG, or what is found in this folder after asking. Throws as `loadConfig` does. */
export async function loadForCommand(file: string | undefined, flags: LoadFlags = {}): Promise<CommandConfig> {
  const loaded = await loadConfig(file, {
    trust: flags.trust === true,
    unapproved: flags.unapproved === true,
    found: flags.found === true,
    ...(flags.listen === undefined ? {} : { listen: flags.listen }),
    ...(process.stdin.isTTY && process.stderr.isTTY ? { ask: (review) => askConsent(review) } : {}),
  });
  const compiled = compile(loaded.config);
  const { host, port } = compiled.listen;
  const endpoints = compiled.endpoints.map((endpoint) => endpoint.path);
  return {
    loaded,
    compiled,
    file: loaded.source.file ?? '',
    dataDir: compiled.dataDir,
    found: file === undefined || flags.found === true,
    url:
      compiled.publicUrl ??
      `${compiled.inbound.tls === undefined ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${port}`,
    mainPath: endpoints.includes('/mcp') ? '/mcp' : (endpoints[0] ?? '/mcp'),
  };
}

export function stateFolder(): string {
  return folderOf(process.env);
}

/** Shows what an unnamed configuration would run, and asks. The default is no; so are Ctrl-C and the end of the input. */
export async function askConsent(review: ConsentReview, streams: Terminal = OWN_TERMINAL): Promise<boolean> {
  streams.output.write(`${withoutControls(formatReview(review))}\n`);
  return askYes('Run it?', streams);
}

/** Asks a person. The default is no; so are Ctrl-C and the end of the input. */
export async function askYes(question: string, { input, output }: Terminal = OWN_TERMINAL): Promise<boolean> {
  const terminal = createInterface({ input, output });
  // A terminal that is gone answers nothing: without this the question would wait for ever.
  const gone = new Promise<undefined>((resolve) => terminal.once('close', () => resolve(undefined)));
  try {
    // Ctrl-C and Ctrl-D reject the question; the person has answered all the same.
    const asked = terminal.question(`${question} [y/N] `).catch(() => undefined);
    const answer = await Promise.race([asked, gone]);
    if (answer === undefined) output.write('\n');
    return /^y(es)?$/i.test((answer ?? '').trim());
  } finally {
    terminal.close();
  }
}

interface Terminal {
  readonly input: NodeJS.ReadableStream;
  readonly output: NodeJS.WritableStream;
}

const OWN_TERMINAL: Terminal = { input: process.stdin, output: process.stderr };
