import { describe, expect, it } from 'vitest';
import { compile } from './compile.ts';
import { explainConfig, formatExplanation } from './explain.ts';
import { formatProblems } from './problems.ts';
import { redactConfig } from './redact.ts';
import { loadText } from './testing.ts';

const env = {
  PW: 'value-of-PW-0123456789',
  KEY: 'ab'.repeat(32),
  HOOK: 'https://hooks/value-of-HOOK',
  SIGN: 'value-of-SIGN-01234567',
};
const load = (yaml: string) => loadText(`servers: { a: { command: x } }\n${yaml}\n`, env);
const of = (yaml: string) => compile(load(yaml).config, {});

describe('storage', () => {
  it('is one file by default', () => {
    expect(of('').storage).toEqual({ sql: { kind: 'sqlite', file: 'tollgate.db' } });
  });

  it('is PostgreSQL by its URL, or with all its settings', () => {
    const sql = {
      kind: 'postgres',
      url: 'postgres://h/db',
      poolMax: 10,
      connectTimeoutMs: 5000,
      statementTimeoutMs: 10_000,
    };
    expect(of('storage: postgres://h/db').storage).toEqual({ sql });
    expect(
      of(
        `storage: { postgres: "postgresql://h/db", pool: 3, connectTimeout: 1s, statementTimeout: 2s, encryptionKey: "\${env:KEY}", compress: true, keep: { admissions: 1, refusals: 2, refusalDays: 3 } }`,
      ).storage,
    ).toEqual({
      sql: { kind: 'postgres', url: 'postgresql://h/db', poolMax: 3, connectTimeoutMs: 1000, statementTimeoutMs: 2000 },
      encryptionKey: Buffer.alloc(32, 0xab),
      compress: true,
      keep: { admissions: 1, refusals: 2, refusalAge: 3 * 86_400_000 },
    });
  });
});

describe('state', () => {
  const base = {
    kind: 'redis',
    tls: undefined,
    username: undefined,
    password: undefined,
    database: 0,
    commandTimeoutMs: 50,
    connectTimeoutMs: 2000,
    ledger: 'tollgate',
    keys: { prefix: 'tollgate', tag: 'all' },
  };
  const plainTls = { ca: undefined, cert: undefined, key: undefined, serverName: undefined };

  it('is memory by default', () => {
    expect(of('').state).toEqual({ kind: 'memory' });
  });

  it('is one Redis by its URL', () => {
    const node = { host: 'h', port: 6379 };
    expect(of('state: redis://h').state).toEqual({ ...base, target: { kind: 'standalone', node } });
    expect(of('state: rediss://u:p%40w@[::1]:7000/3').state).toEqual({
      ...base,
      target: { kind: 'standalone', node: { host: '::1', port: 7000 } },
      tls: plainTls,
      username: 'u',
      password: 'p@w',
      database: 3,
    });
  });

  it('is a cluster, or a master that sentinels name', () => {
    expect(
      of(
        `state: { cluster: [a, "b:7000"], username: u, password: "\${env:PW}", tls: { ca: ca.pem, serverName: r }, commandTimeout: 20ms, connectTimeout: 1s, ledger: team }`,
      ).state,
    ).toEqual({
      ...base,
      target: {
        kind: 'cluster',
        nodes: [
          { host: 'a', port: 6379 },
          { host: 'b', port: 7000 },
        ],
      },
      tls: { ...plainTls, ca: '/project/ca.pem', serverName: 'r' },
      username: 'u',
      password: env.PW,
      commandTimeoutMs: 20,
      connectTimeoutMs: 1000,
      ledger: 'team',
      keys: { prefix: 'team', tag: 'all' },
    });
    expect(
      of(`state: { sentinel: { master: m, nodes: [s1], password: "\${env:PW}" }, tls: true, database: 2 }`).state,
    ).toEqual({
      ...base,
      target: {
        kind: 'sentinel',
        master: 'm',
        nodes: [{ host: 's1', port: 26_379 }],
        username: undefined,
        password: env.PW,
      },
      tls: plainTls,
      database: 2,
    });
  });
});

describe('webhooks', () => {
  it('are handed over with their secrets', () => {
    expect(
      of(`webhooks: [{ url: "\${env:HOOK}", secret: "\${env:SIGN}" }, { url: "http://127.0.0.1:1/x" }]`).webhooks,
    ).toEqual([
      { url: env.HOOK, secret: env.SIGN },
      { url: 'http://127.0.0.1:1/x', secret: undefined },
    ]);
  });
});

describe('secrets of stores', () => {
  const yaml = `
storage: { postgres: "postgres://tollgate:value-of-pw@db/x?sslmode=require", encryptionKey: "\${env:KEY}" }
state: { sentinel: { master: m, nodes: [s], password: value-of-sentinel }, username: u, password: "\${env:PW}" }
webhooks: [{ url: "https://hooks/value-of-path", secret: value-of-signature }, { url: "\${env:HOOK}", secret: "\${env:SIGN}" }]
`;
  it('are never shown, whole or in a URL', () => {
    const loaded = load(yaml);
    const shown = JSON.stringify(redactConfig(loaded.config, loaded.source));
    const bare = JSON.stringify(redactConfig(loaded.config));
    const explained = formatExplanation(explainConfig(loaded));
    const warned = formatProblems(loaded.warnings, '/project');
    for (const text of [shown, bare, explained, warned]) {
      expect(text).not.toMatch(/value-of/);
      expect(text).not.toContain(env.KEY);
    }
    expect(explained).toContain('postgres://redacted:redacted@db/x?sslmode=require');
    for (const url of ['state: redis://u:value-of-pw@h/1', 'storage: postgres://u:value-of-pw@h/x']) {
      const other = load(url);
      expect(formatExplanation(explainConfig(other))).not.toMatch(/value-of/);
      expect(formatProblems(other.warnings, '/project')).toContain('password stands in the file in plain text');
    }
  });

  it('that stand in the file are warned of, those of variables are not', () => {
    expect(load(yaml).warnings.map(({ path }) => path.join('.'))).toEqual([
      'storage.postgres',
      'state.sentinel.password',
      'webhooks.0.secret',
    ]);
  });
});
