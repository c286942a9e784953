import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { canaryIn } from './canaries.ts';

/**
 * An empty database of its own on a real PostgreSQL; disposal drops it, whoever is connected, and rejects when a secret that
 * `canary` made was in one of its tables.
 */
export interface Database extends AsyncDisposable {
  readonly url: URL;
}

/** `server`: a URL with the right to create databases. */
export async function emptyDatabase(server: string): Promise<Database> {
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  await run(server, `create database ${name}`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  return {
    url,
    [Symbol.asyncDispose]: async () => {
      const found = await canaryInTables(url.href).finally(() => run(server, `drop database ${name} with (force)`));
      if (found !== undefined) throw new Error(`A secret of the tests was in the database: ${found}`);
    },
  };
}

/** Bytes are hexadecimal digits in the text of a row. */
async function canaryInTables(url: string): Promise<string | undefined> {
  const client = new Client({ connectionString: url, statement_timeout: 10_000 });
  await client.connect();
  try {
    const { rows: tables } = await client.query("select tablename from pg_tables where schemaname = 'public'");
    for (const { tablename } of tables as { tablename: string }[]) {
      const { rows } = await client.query(`select one::text as text from "${tablename}" one`);
      const found = canaryIn((rows as { text: string }[]).map(({ text }) => text).join('\n'));
      if (found !== undefined) return `${tablename}: ${found}`;
    }
    return undefined;
  } finally {
    await client.end();
  }
}

async function run(server: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: server });
  await client.connect();
  await client.query(statement).finally(() => client.end());
}
