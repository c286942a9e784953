/**
 * Sign-ins of versions that kept them in a file of the data folder: taken into the vault once, then the file is
 * removed. Nothing is written to it any more.
 */
import { constants } from 'node:fs';
import { open, unlink } from 'node:fs/promises';
import { z } from 'zod';
import { TollgateError } from '../../core/errors.ts';
import type { Secrets } from '../../core/secrets.ts';
import { GATEWAY, Grants } from './grants.ts';

const Client = z.looseObject({ client_id: z.string() });

const Entry = z.object({
  url: z.string(),
  issuer: z.string().optional(),
  metadata: z.unknown().optional(),
  resource: z.string().optional(),
  clients: z.record(z.string(), Client),
  tokens: z
    .object({
      accessToken: z.string(),
      refreshToken: z.string().optional(),
      scope: z.string().optional(),
      useUntil: z.number().optional(),
    })
    .optional(),
  wantedScope: z.string().optional(),
});

const Metadata = z.object({
  token_endpoint: z.string(),
  token_endpoint_auth_methods_supported: z.array(z.string()).optional(),
});

const File = z.object({ version: z.literal(1), servers: z.record(z.string(), Entry) });

/**
 * Resolves to the names of the servers whose sign-in was taken over; what the vault holds already wins. Rejects with
 * `config_invalid` for a file that others may open, with `vault_unavailable` when the vault cannot take it; then the
 * file stays.
 */
export async function importTokenFile(file: string, secrets: Secrets): Promise<readonly string[]> {
  const content = await load(file);
  if (content === undefined) return [];
  const grants = new Grants(secrets);
  const taken: string[] = [];
  for (const [server, entry] of Object.entries(content.servers)) {
    const { url, issuer, tokens, resource, wantedScope } = entry;
    const client = issuer === undefined ? undefined : entry.clients[issuer];
    const metadata = Metadata.safeParse(entry.metadata);
    if (issuer === undefined || client === undefined || tokens === undefined || !metadata.success) continue;
    const methods = metadata.data.token_endpoint_auth_methods_supported;
    await grants.update(server, GATEWAY, url, async (known) => {
      if (known !== undefined) return known;
      taken.push(server);
      return {
        version: 1,
        url,
        issuer,
        tokenEndpoint: metadata.data.token_endpoint,
        ...(methods === undefined ? {} : { authMethods: methods }),
        ...(resource === undefined ? {} : { resource }),
        client,
        tokens,
        ...(wantedScope === undefined ? {} : { wantedScope }),
        signedInAt: 0,
      };
    });
  }
  await unlink(file);
  return taken;
}

async function load(file: string): Promise<z.infer<typeof File> | undefined> {
  let text: string;
  try {
    // A link could point anywhere; the file is ours and is never one.
    const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      const { mode, uid } = await handle.stat();
      requirePrivate(file, mode, uid);
      text = await handle.readFile('utf8');
    } finally {
      await handle.close();
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    if (TollgateError.is(cause)) throw cause;
    throw problem(file, `cannot be read (${String((cause as NodeJS.ErrnoException).code)})`, cause);
  }
  try {
    return File.parse(JSON.parse(text));
  } catch {
    // The cause would quote the file, and the file holds secrets.
    throw problem(file, 'is damaged; delete it and sign in again with `tollgate login NAME`');
  }
}

function requirePrivate(file: string, mode: number, uid: number): void {
  if (process.platform === 'win32') return;
  if ((mode & 0o077) !== 0) {
    const octal = (mode & 0o777).toString(8).padStart(4, '0');
    throw problem(file, `holds sign-in tokens and others may open it (mode ${octal}); run \`chmod 600\` on it`);
  }
  if (process.getuid !== undefined && uid !== process.getuid()) {
    throw problem(file, 'holds sign-in tokens and belongs to another user');
  }
}

function problem(file: string, what: string, cause?: unknown): TollgateError {
  return new TollgateError('config_invalid', `${file} ${what}`, { cause });
}
