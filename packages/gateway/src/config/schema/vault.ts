/** Where the vault's master key is. */
import * as z from 'zod';
import { UnitError } from '../units.ts';
import { either, list, parsed, section, text } from './kit.ts';

const VARIABLE = 'TOLLGATE_MASTER_KEY';
const URL_EXAMPLE = 'https://vault.example:8200';

const keysText = parsed('a key provider', 'file', (value) => {
  if (value === 'file' || value === 'env') return value;
  throw new UnitError('This is no key provider.', 'Write file, env, or a map.');
});

/** Parts of the path at the engine. */
const engineName = (what: string, example: string) =>
  parsed(what, example, (value) => {
    if (/^[A-Za-z0-9][A-Za-z0-9_./-]{0,199}$/.test(value) && !/\.\.|\/\/|\/$/.test(value)) return value;
    throw new UnitError(`This is not ${what}.`, `For example ${example}.`);
  });

const engineUrl = parsed('a URL', URL_EXAMPLE, (value) => {
  const url = URL.parse(value);
  const local = url !== null && /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(url.hostname);
  if (url === null || (url.protocol !== 'https:' && !(url.protocol === 'http:' && local))) {
    throw new UnitError('The URL must begin with https://, or http:// to loopback.', `For example ${URL_EXAMPLE}.`);
  }
  if (url.username !== '' || url.search !== '' || url.hash !== '') {
    throw new UnitError('The URL holds more than an address.', `For example ${URL_EXAMPLE}.`);
  }
  return value.replace(/\/+$/, '');
});

const transit = section({
  url: engineUrl.describe('Its address.'),
  key: engineName('the name of a key', 'tollgate').describe(
    'Made with `vault write -f transit/keys/NAME derived=true`.',
  ),
  tokenFile: text('a file', '/run/secrets/vault-token').describe('File with a token; read for every request.'),
  mount: engineName('a path', 'transit').prefault('transit').describe('Path of the engine.'),
  namespace: text('a namespace', 'team-a').optional().describe('Namespace, where there are such.'),
  ca: text('a file', './ca.pem').optional().describe('CA that signed its certificate. Default: those of the system.'),
});

const keysMap = section({
  file: text('a file', './master.key')
    .optional()
    .describe(
      'A file that only its owner reads (0600), made with the first secret. Default `master.key` in `dataDir`.',
    ),
  env: parsed('the name of a variable', VARIABLE, (value) => {
    if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(value)) return value;
    throw new UnitError('This is no name of a variable.', `For example ${VARIABLE}.`);
  })
    .optional()
    .describe(
      'A variable with 32 bytes in base64; several between commas, the newest first. `env` alone: `TOLLGATE_MASTER_KEY`.',
    ),
  command: list(z.string({ error: 'Each argument must be text; put quotes round it.' }), 'arguments', '[./kms-helper]')
    .optional()
    .describe('A program that holds the key, or asks a KMS or PKCS#11 token for it; see `docs/vault.md`.'),
  socket: text('a path', '/run/tollgate/keys.sock')
    .optional()
    .describe('Unix socket of such a program that runs already.'),
  transit: transit.optional().describe('The transit engine of HashiCorp Vault or OpenBao.'),
});

export const vault = section({
  keys: either(keysText, keysMap, 'Must be file, env, or a map')
    .prefault('file')
    .describe('Who holds the master key: `file`, `env`, or a map with one of the keys below.'),
});
