import { randomUUID } from 'node:crypto';
import { Client } from 'pg';

/** An empty database of its own on a real PostgreSQL; disposal drops it, whoever is connected. */
export interface Database extends AsyncDisposable {
  readonly url: URL;
}

/** `server`: a URL with the right to create databases. */
export async function emptyDatabase(server: string): Promise<Database> {
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  await run(server, `create database ${name}`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  return { url, [Symbol.asyncDispose]: () => run(server, `drop database ${name} with (force)`) };
}

async function run(server: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: server });
  await client.connect();
  await client.query(statement).finally(() => client.end());
}
