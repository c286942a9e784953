import { createHash } from 'node:crypto';

/** Two 32-bit parts of a digest: what stands for a text in the keys of counters, equal on every gateway and for ever. */
export type Lanes = readonly [high: number, low: number];

/**
 * Lanes of a text of any length and content: 64 bits of its SHA-256. UTF-16, because in UTF-8 all lone surrogates are
 * the same character. Costs a microsecond: make them once and keep them.
 */
export function lanesOf(text: string): Lanes {
  const digest = createHash('sha256').update(text, 'utf16le').digest();
  return [digest.readUInt32BE(0), digest.readUInt32BE(4)];
}

/** Whom an id means: `person` is `entry/subject`, whoever the entry calls so; with the tenant it is one principal. */
export interface PrincipalName {
  readonly person: string;
  /** Undefined: none. */
  readonly tenant: string | undefined;
}

/**
 * The id of a principal, by which everything is kept that is kept per caller: `entry/subject`, with a tenant
 * `entry@tenant/subject`. Names of entries hold no `@` and no `/`, and what could end the tenant early is escaped, so two
 * principals never share an id (what the Asana server lacked in 2025). People write and read it, and it fits a database.
 */
export function principalId({ person, tenant }: PrincipalName): string {
  if (tenant === undefined) return person;
  const slash = person.indexOf('/');
  const end = slash < 0 ? person.length : slash;
  const escaped = tenant.replace(
    /[%/\p{Cc}\p{Cs}]/gu,
    (unit) => `%${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return `${person.slice(0, end)}@${escaped}${person.slice(end)}`;
}

/** Whom an id means that somebody wrote or that was stored. */
export function readPrincipalId(id: string): PrincipalName {
  const slash = id.indexOf('/');
  const at = id.indexOf('@');
  if (at < 1 || slash < at) return { person: id, tenant: undefined };
  const tenant = id
    .slice(at + 1, slash)
    .replace(/%([0-9a-f]{4})/gi, (_, unit: string) => String.fromCharCode(Number.parseInt(unit, 16)));
  return { person: id.slice(0, at) + id.slice(slash), tenant };
}

/** The one spelling of an id: a tenant may be written without the escapes that its id has. */
export function canonicalPrincipalId(written: string): string {
  return principalId(readPrincipalId(written));
}

/** An id that was told with the tenant beside it (records, cases, old rows), as one. A tenant in the id comes first. */
export function idInTenant(id: string, tenant: string | undefined): string {
  const name = readPrincipalId(id);
  return principalId({ person: name.person, tenant: name.tenant ?? tenant });
}

/** The parts of a principal that its name decides. Make them once for a credential: they cost a digest. */
export function identityOf(name: PrincipalName): Pick<Principal, 'id' | 'person' | 'lanes'> {
  const id = principalId(name);
  return { id, person: name.person, lanes: lanesOf(id) };
}

/**
 * The authenticated caller. `key` is a small integer that stands for its id on the hot path (sessions, streams, tasks,
 * processes of its own), so that no string keys are built per call.
 */
export interface Principal {
  /** See `principalId`: for example `ci/ci`, `corp@acme/ada`, `local/ada` or `anonymous`. */
  readonly id: string;
  /** The id without the tenant: what rules and blocks that name none are about. The same for several principals. */
  readonly person: string;
  readonly key: number;
  /** Stand for `id` in counters, which outlive the process and are shared: `key` does neither. */
  readonly lanes: Lanes;
  readonly entry: string;
  readonly subject: string;
  readonly tenant: string | undefined;
  readonly tier: string | undefined;
  readonly roles: readonly string[];
  /** Granted scopes; `*` and `prefix:*` are wildcards. Undefined: the method knows no scopes (anonymous, stdio). */
  readonly scopes: readonly string[] | undefined;
  readonly clientId: string | undefined;
  /** Id of the API key that was shown; absent for all other methods. */
  readonly keyId?: string | undefined;
  /** Issuer of the token; absent: the method has none (bearer, keys, anonymous, stdio). */
  readonly issuer?: string | undefined;
  /** Verified claims of the token, frozen; expressions see them as `caller.claims`. Absent: the method has none. */
  readonly claims?: Readonly<Record<string, unknown>> | undefined;
  /** Session that the token names, for limits by session where the protocol has none; its id is unique. */
  readonly session?: { readonly id: string } | undefined;
  /** Wall time in milliseconds from which the credential is not accepted any more; absent: it does not end. */
  readonly expiresAt?: number | undefined;
}
