import type { Checks } from './check.ts';
import { doubt, mistake } from './problems.ts';
import { formatListen, isLoopback, isWildcard } from './units.ts';

export function checkListen(checks: Checks): void {
  const { config, findings } = checks;
  const { listen, admin, caps } = config;
  if (caps.string !== undefined && caps.string > caps.body) {
    findings.push(
      mistake(['caps', 'string'], 'A string cannot be larger than its body.', 'Lower it, or raise `caps.body`.'),
    );
  }
  if (caps.streamsPerPrincipal !== undefined && caps.streamsPerPrincipal > caps.streams) {
    findings.push(
      mistake(
        ['caps', 'streamsPerPrincipal'],
        'One principal cannot have more streams than there are in all.',
        'Lower it, or raise `caps.streams`.',
      ),
    );
  }
  const beyond = !isLoopback(listen.host);
  // A proxy on this machine brings strangers to a listener on loopback.
  if (!beyond && config.trustedProxies.length > 0 && !checks.isDamaged('trustedProxies')) checkOpenDoor(checks);
  if (beyond && !checks.isDamaged('listen')) {
    checkOpenDoor(checks);
    if (
      config.tls === undefined &&
      config.trustedProxies.length === 0 &&
      config.publicUrl?.startsWith('http:') !== true &&
      !['tls', 'trustedProxies', 'publicUrl'].some((key) => checks.isDamaged(key))
    ) {
      findings.push(
        doubt(
          ['listen'],
          `Credentials travel unencrypted to ${formatListen(listen)}.`,
          'Write tls: { cert: cert.pem, key: key.pem }, or put a proxy with TLS in front and name it in `trustedProxies`.',
        ),
      );
    }
    const named = config.allowedHosts.length > 0 || config.publicUrl !== undefined;
    if (isWildcard(listen.host) && !named && !checks.isDamaged('allowedHosts') && !checks.isDamaged('publicUrl')) {
      findings.push(
        mistake(
          ['listen'],
          'No host name is allowed, so every request would be refused.',
          'Write publicUrl: https://your-host, or allowedHosts: [your-host] with the names clients use.',
        ),
      );
    }
    if (config.publicUrl?.startsWith('http:') === true && !isLoopback(new URL(config.publicUrl).hostname)) {
      findings.push(
        doubt(
          ['publicUrl'],
          'Credentials would travel unencrypted.',
          'Write `tls`, or put TLS in front, and write https.',
        ),
      );
    }
  }
  if (admin === undefined || checks.isDamaged('admin') || checks.isDamaged('listen')) return;
  if (admin.port === listen.port && admin.port !== 0 && formatListen(admin) !== formatListen(listen)) {
    if (isWildcard(admin.host) || isWildcard(listen.host)) {
      findings.push(
        mistake(
          ['admin'],
          `${formatListen(admin)} and ${formatListen(listen)} cannot both be opened.`,
          'Choose another port.',
        ),
      );
    }
  }
  // Who needs no credential here on this machine has none of the admin surfaces either, from elsewhere.
  if (!isLoopback(admin.host) && !beyond && config.trustedProxies.length === 0) checkOpenDoor(checks, 'admin');
  if (!isLoopback(admin.host) && config.tls === undefined) {
    findings.push(doubt(['admin'], 'The admin token would travel unencrypted.', 'Listen on loopback, or write `tls`.'));
  }
}

/** Anybody who reaches the port is a caller: that must be written, it never happens by omission. */
function checkOpenDoor(checks: Checks, place: 'listen' | 'admin' = 'listen'): void {
  const { config, findings } = checks;
  if (checks.isDamaged('auth')) return;
  const address = formatListen(config[place] ?? config.listen);
  if (config.auth === undefined && place === 'admin') {
    findings.push(
      mistake(
        ['admin'],
        `${address} is reachable from other machines, and without \`auth\` anybody is a user there.`,
        'Keep it on loopback, or write auth: [{ name: ci, bearer: { token: "${env:TOKEN}" } }].',
      ),
    );
  } else if (config.auth === undefined) {
    const local = isLoopback(config.listen.host);
    findings.push(
      mistake(
        [local ? 'trustedProxies' : 'listen'],
        `${address} is reachable from other machines${local ? ' through a proxy' : ''}, and no \`auth\` says who may call.`,
        `${local ? 'Remove it' : 'Listen on 127.0.0.1:7117'}, or write auth: [{ name: ci, bearer: { token: "\${env:TOKEN}" } }].`,
      ),
    );
  }
  config.auth?.forEach((entry, i) => {
    if (entry.anonymous === undefined) return;
    if (entry.anonymous === true || !entry.anonymous.public) {
      findings.push(
        mistake(
          ['auth', i, 'anonymous'],
          `Anybody who reaches ${address} could call without a credential.`,
          'Remove the entry, or write anonymous: { public: true } when that is meant.',
        ),
      );
    }
  });
}
