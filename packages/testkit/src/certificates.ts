/** Certificates made when a test needs them: none is kept in the repository, so none can end or leak. */
import { createHash, randomUUID, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { generate } from 'selfsigned';

export interface TestCertificate {
  /** PEM; it is its own authority. */
  readonly cert: string;
  readonly key: string;
  /** SHA-256 of the public key (SPKI), base64: what a pin names. */
  readonly pin: string;
  /** Of the whole certificate, as `tls` shows it: tells two of one name apart. */
  readonly fingerprint: string;
}

/** A certificate for these host names and addresses, signed by itself; P-256. */
export async function makeCertificate(
  names: readonly string[] = ['localhost', '127.0.0.1', '::1'],
  options: { readonly notAfter?: Date } = {},
): Promise<TestCertificate> {
  const altNames = names.map((name) =>
    isIP(name) === 0 ? ({ type: 2, value: name } as const) : ({ type: 7, ip: name } as const),
  );
  // A name of its own: who trusts two of one name looks up the wrong one.
  const pems = await generate([{ name: 'commonName', value: `test ${randomUUID()}` }], {
    keyType: 'ec',
    algorithm: 'sha256',
    ...(options.notAfter === undefined
      ? {}
      : { notBeforeDate: new Date(options.notAfter.getTime() - 86_400_000), notAfterDate: options.notAfter }),
    extensions: [{ name: 'subjectAltName', altNames }],
  });
  const certificate = new X509Certificate(pems.cert);
  const spki = certificate.publicKey.export({ type: 'spki', format: 'der' });
  return {
    cert: pems.cert,
    key: pems.private,
    pin: createHash('sha256').update(spki).digest('base64'),
    fingerprint: certificate.fingerprint256,
  };
}
