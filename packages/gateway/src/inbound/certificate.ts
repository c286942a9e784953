/**
 * The certificate of a listener: read before it is used, read again when its files change. One that is bad never takes
 * the place of one that works; handshakes that are under way end with the one they began with.
 */
import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import type { SecureContextOptions } from 'node:tls';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { ListenerTls } from './options.ts';

/** Milliseconds between looks at the files: asking works also where watching does not (network, mounted secrets). */
const LOOK_EVERY = 10_000;
const DAY = 86_400_000;
const WARN_DAYS = 14;

export interface LoadedCertificate {
  /** For `setSecureContext`, which takes all of it anew. */
  readonly context: SecureContextOptions;
  /** SHA-256 of the public key, base64. */
  readonly pin: string;
  readonly validTo: Date;
}

/** Rejects with `config_invalid` that names the file and what is wrong with it. */
export async function loadCertificate({ cert, key, minVersion }: ListenerTls): Promise<LoadedCertificate> {
  const [chain, secret] = await Promise.all([readPem('tls.cert', cert), readPem('tls.key', key)]);
  const leaf = parsed('tls.cert', cert, () => new X509Certificate(chain));
  const privateKey = parsed('tls.key', key, () => createPrivateKey(secret));
  if (!leaf.checkPrivateKey(privateKey)) throw bad('tls.key', key, 'it does not belong to the certificate in tls.cert');
  const spki = leaf.publicKey.export({ type: 'spki', format: 'der' });
  return {
    context: { cert: chain, key: secret, minVersion, honorCipherOrder: true },
    pin: createHash('sha256').update(spki).digest('base64'),
    validTo: new Date(leaf.validTo),
  };
}

/** Keeps the certificate of one listener up to date. */
export class CertificateKeeper {
  readonly #use: (loaded: LoadedCertificate) => void;
  readonly #log: Log;
  readonly #every: number;
  #options: ListenerTls;
  #seen = '';
  #loaded: LoadedCertificate | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ListenerTls, use: (loaded: LoadedCertificate) => void, log: Log, every = LOOK_EVERY) {
    this.#options = options;
    this.#use = use;
    this.#log = log;
    this.#every = every;
  }

  get pin(): string | undefined {
    return this.#loaded?.pin;
  }

  /** Loads and uses it for the first time. Rejects with `config_invalid`. */
  async start(): Promise<void> {
    this.#seen = await signatureOf(this.#options);
    this.adopt(this.#options, await loadCertificate(this.#options));
    this.#timer = setInterval(() => void this.#look(), this.#every).unref();
  }

  /** Reads one that is to take the place of the present one. Rejects with `config_invalid` where that would be worse. */
  async next(options: ListenerTls): Promise<LoadedCertificate> {
    const loaded = await loadCertificate(options);
    const ended = loaded.validTo.getTime() < Date.now();
    if (ended && loaded.context.cert !== this.#loaded?.context.cert)
      throw bad('tls.cert', options.cert, 'it has ended');
    return loaded;
  }

  /** Uses one that was loaded already: of a configuration that is being applied. */
  adopt(options: ListenerTls, loaded: LoadedCertificate): void {
    this.#options = options;
    this.#loaded = loaded;
    this.#use(loaded);
    const days = Math.floor((loaded.validTo.getTime() - Date.now()) / DAY);
    const words = { file: options.cert, validTo: loaded.validTo.toISOString() };
    if (days < 0) this.#log.error(words, 'the certificate has ended: clients refuse it');
    else if (days < WARN_DAYS) this.#log.warn(words, 'the certificate ends soon');
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    const options = this.#options;
    const seen = await signatureOf(options);
    if (seen === this.#seen) return;
    this.#seen = seen;
    try {
      const loaded = await this.next(options);
      if (options !== this.#options) return;
      this.adopt(options, loaded);
      this.#log.info({ file: options.cert, validTo: loaded.validTo.toISOString() }, 'the certificate was replaced');
    } catch (error) {
      // Half-written files come here too: they change once more, and are read then.
      this.#log.error({ problem: TollgateError.from(error).message }, 'the old certificate stays in use');
    }
  }
}

/** Changes when one of the files does; what cannot be read is a state of its own. */
async function signatureOf({ cert, key }: ListenerTls): Promise<string> {
  const of = async (file: string): Promise<string> => {
    try {
      const { ino, size, mtimeMs, ctimeMs } = await stat(file);
      return `${ino} ${size} ${mtimeMs} ${ctimeMs}`;
    } catch {
      return 'none';
    }
  };
  return `${await of(cert)}, ${await of(key)}`;
}

async function readPem(name: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const { code = 'error' } = error as NodeJS.ErrnoException;
    throw bad(name, file, code === 'ENOENT' ? 'there is no such file' : `it cannot be read (${code})`);
  }
}

/** The parsers of OpenSSL speak of its functions; what they say can quote the file. */
function parsed<T>(name: string, file: string, parse: () => T): T {
  try {
    return parse();
  } catch {
    throw bad(name, file, 'it holds no PEM of that kind that can be read without a passphrase');
  }
}

function bad(name: string, file: string, why: string): TollgateError {
  return new TollgateError('config_invalid', `${name}: ${file} is not used: ${why}.`);
}
