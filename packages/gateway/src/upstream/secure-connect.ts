/** How the other end of an outbound TLS connection is recognised: verified always, pinned where that is asked for. */
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { checkServerIdentity, type DetailedPeerCertificate, type PeerCertificate } from 'node:tls';
import { TollgateError } from '../core/errors.ts';
import type { ServerTls } from './options.ts';

/** Options of `tls.connect`. */
export interface SecureConnect {
  readonly rejectUnauthorized: true;
  readonly minVersion: ServerTls['minVersion'];
  readonly ca?: string;
  readonly servername?: string;
  readonly checkServerIdentity?: (host: string, certificate: PeerCertificate) => Error | undefined;
}

/** Certificates between that of a server and its authority; more are not looked at. */
const MAX_CHAIN = 10;

/** For the connections to a server. Throws `config_invalid` for a file that cannot be read. */
export function secureConnect(server: string, { ca, pins, serverName, minVersion }: ServerTls): SecureConnect {
  return {
    // Said, so that NODE_TLS_REJECT_UNAUTHORIZED cannot switch it off.
    rejectUnauthorized: true,
    minVersion,
    ...(ca === undefined ? {} : { ca: readAuthorities(server, ca) }),
    ...(serverName === undefined ? {} : { servername: serverName }),
    ...(pins === undefined ? {} : { checkServerIdentity: pinned(pins) }),
  };
}

/** Called once the chain is verified: the name must fit as well, and one key of the chain must be a pinned one. */
function pinned(pins: readonly string[]): (host: string, certificate: PeerCertificate) => Error | undefined {
  const known = new Set(pins);
  return (host, certificate) => {
    const wrong = checkServerIdentity(host, certificate);
    if (wrong !== undefined) return wrong;
    return keysOf(certificate as DetailedPeerCertificate).some((pin) => known.has(pin)) ? undefined : notPinned();
  };
}

function keysOf(leaf: DetailedPeerCertificate): string[] {
  const pins: string[] = [];
  let certificate = leaf;
  while (pins.length < MAX_CHAIN) {
    const spki = new X509Certificate(certificate.raw).publicKey.export({ type: 'spki', format: 'der' });
    pins.push(createHash('sha256').update(spki).digest('base64'));
    const issuer = certificate.issuerCertificate as DetailedPeerCertificate | undefined;
    // The last one is its own issuer.
    if (issuer === undefined || issuer === certificate || issuer.raw.equals(certificate.raw)) break;
    certificate = issuer;
  }
  return pins;
}

function notPinned(): Error {
  return Object.assign(new Error('no key of the certificate chain is pinned'), { code: 'TOLLGATE_NOT_PINNED' });
}

function readAuthorities(server: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'error';
    throw new TollgateError('config_invalid', `servers.${server}.tls.ca: ${file} cannot be read (${code})`, { cause });
  }
}
