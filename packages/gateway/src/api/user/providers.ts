/** Providers whose keys callers may leave with the gateway, and what a key of each looks like. */
import { unclear } from '../written.ts';

export interface Provider {
  readonly name: string;
  /** What its keys are for. */
  readonly features: readonly string[];
  readonly prefix: string;
  /** Characters, the prefix included. */
  readonly minimum: number;
}

/** No key of any provider is shorter. */
const SHORTEST = 10;
const LONGEST = 4096;

export const PROVIDERS: readonly Provider[] = [
  { name: 'openai', features: ['chat', 'embeddings', 'images', 'audio'], prefix: 'sk-', minimum: 40 },
  { name: 'anthropic', features: ['chat', 'vision', 'documents'], prefix: 'sk-ant-', minimum: 50 },
  { name: 'google', features: ['chat', 'embeddings', 'vision'], prefix: '', minimum: 20 },
];

/** Throws `invalid_params` (400) for a provider that is not supported. */
export function providerNamed(name: string): Provider {
  const provider = PROVIDERS.find((one) => one.name === name);
  if (provider !== undefined) return provider;
  throw unclear(`Unsupported provider. Supported: ${PROVIDERS.map((one) => one.name).join(', ')}.`);
}

/** Throws `invalid_params` (400) for what cannot be a key of the provider. Never repeats the key. */
export function checkFormat(provider: Provider, key: string): void {
  const { name, prefix, minimum } = provider;
  if (!/^[\x21-\x7e]+$/.test(key)) throw unclear('An API key is visible ASCII without blanks.');
  if (key.length < SHORTEST) throw unclear(`An API key has at least ${SHORTEST} characters.`);
  if (key.length > LONGEST) throw unclear(`An API key has at most ${LONGEST} characters.`);
  if (!key.startsWith(prefix)) throw unclear(`A key of ${name} begins with ${prefix}`);
  if (key.length < minimum) throw unclear(`A key of ${name} has at least ${minimum} characters.`);
  // Both begin with `sk-`: a key left under the wrong name would be sent to the wrong company.
  const other = PROVIDERS.find((one) => one.prefix.length > prefix.length && key.startsWith(one.prefix));
  if (other !== undefined) throw unclear(`This is a key of ${other.name}, not of ${name}.`);
}
