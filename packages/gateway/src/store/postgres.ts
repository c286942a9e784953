import { createHash } from 'node:crypto';
import { Kysely, PostgresDialect, type PostgresPool, type PostgresPoolClient } from 'kysely';
import type { ClientConfig, PoolClient } from 'pg';
import { TollgateError } from '../core/errors.ts';
import type { PostgresOptions } from './options.ts';
import type { Tables } from './schema.ts';

const NAMED_STATEMENTS = 200;
/** The server's own timeout answers first; this one is for a server that no longer answers at all. */
const GRACE = 500;

/** `pg` is an optional peer: it is loaded only where PostgreSQL is configured. */
export async function loadPg(): Promise<typeof import('pg').default> {
  try {
    return (await import('pg')).default;
  } catch (cause) {
    throw new TollgateError('config_invalid', '`storage` is PostgreSQL, but its driver is missing: npm install pg', {
      cause,
    });
  }
}

/** What every connection has: bounded waits, and integers of eight bytes as numbers. */
export function connectionConfig(pg: Awaited<ReturnType<typeof loadPg>>, options: PostgresOptions): ClientConfig {
  return {
    connectionString: options.url,
    connectionTimeoutMillis: options.connectTimeoutMs,
    statement_timeout: options.statementTimeoutMs,
    lock_timeout: options.statementTimeoutMs,
    idle_in_transaction_session_timeout: options.statementTimeoutMs * 2,
    query_timeout: options.statementTimeoutMs + GRACE,
    keepAlive: true,
    application_name: 'tollgate',
    types: {
      // Amounts are kept within ±2^53, sums are cut there: the text of an int8 always fits a double.
      getTypeParser: (id, format) =>
        Number(id) === pg.types.builtins.INT8 ? Number : pg.types.getTypeParser(id, format),
    } as NonNullable<ClientConfig['types']>,
  };
}

/** A pool of at most `poolMax` connections. Connects on first use. */
export async function openPostgres(options: PostgresOptions): Promise<Kysely<Tables>> {
  const pg = await loadPg();
  const pool = new pg.Pool({
    ...connectionConfig(pg, options),
    max: Math.max(2, options.poolMax),
    idleTimeoutMillis: 30_000,
  });
  // Without a listener a connection that breaks while idle would end the thread; the next query reports the break.
  pool.on('error', () => {});
  const names = new Map<string, string>();
  const clients = new WeakMap<PoolClient, NamedClient>();
  const named: PostgresPool = {
    options: {},
    connect: async () => {
      const client = await pool.connect();
      let wrapped = clients.get(client);
      if (wrapped === undefined) {
        wrapped = new NamedClient(client, names);
        clients.set(client, wrapped);
      }
      return wrapped as unknown as PostgresPoolClient;
    },
    end: () => pool.end(),
  };
  return new Kysely<Tables>({ dialect: new PostgresDialect({ pool: named }) });
}

/** Prepares each statement once a connection, and gives up a connection whose state is unknown. */
class NamedClient {
  readonly #client: PoolClient;
  readonly #names: Map<string, string>;
  #broken = false;

  constructor(client: PoolClient, names: Map<string, string>) {
    this.#client = client;
    this.#names = names;
    client.on('error', () => {
      this.#broken = true;
    });
  }

  async query(text: string, values: readonly unknown[] = []): Promise<unknown> {
    const name = this.#name(text);
    const query = { text, values: [...values], ...(name === undefined ? {} : { name }) };
    try {
      return await this.#client.query(query);
    } catch (error) {
      // An error with an SQLSTATE was said by the server and the connection is in order; any other leaves it in doubt.
      if (!/^(?=.*\d)[0-9A-Z]{5}$/.test(String((error as { code?: unknown }).code))) this.#broken = true;
      throw error;
    }
  }

  release(destroy = false): void {
    this.#client.release(destroy || this.#broken);
  }

  #name(text: string): string | undefined {
    let name = this.#names.get(text);
    if (name === undefined && this.#names.size < NAMED_STATEMENTS && text.length > 20) {
      name = createHash('sha256').update(text).digest('base64url').slice(0, 22);
      this.#names.set(text, name);
    }
    return name;
  }
}
