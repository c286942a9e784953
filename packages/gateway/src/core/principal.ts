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

/**
 * Whose something is, as text for what outlives a process or is sealed: one person in two tenants is two owners. What is
 * of one tenant must not open with a credential of another (the tenant check that the Asana server lacked in 2025).
 */
export function ownerOf({ id, tenant }: Pick<Principal, 'id' | 'tenant'>): string {
  return tenant === undefined ? id : `${id}\0${tenant}`;
}

/**
 * The same as a name that people can write (`--user`, `user_id`) and the vault can keep: `entry/subject`, with a tenant
 * `entry@tenant/subject`. Names of entries hold no `@` and no `/`, so two owners never share a name.
 */
export function ownerNameOf({ id, tenant }: Pick<Principal, 'id' | 'tenant'>): string {
  if (tenant === undefined) return id;
  const slash = id.indexOf('/');
  const escaped = tenant.replace(
    /[%/\p{Cc}\p{Cs}]/gu,
    (unit) => `%${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return `${id.slice(0, slash)}@${escaped}${id.slice(slash)}`;
}

/** Whom a name of `ownerNameOf` means; a tenant that is undefined is none, or is not told. */
export function ownerNamed(name: string): Pick<Principal, 'id' | 'tenant'> {
  const parts = /^([^@/]+)@([^/]*)(\/.*)$/su.exec(name);
  if (parts === null) return { id: name, tenant: undefined };
  const tenant = parts[2]!.replace(/%([0-9a-f]{4})/g, (_, unit: string) =>
    String.fromCharCode(Number.parseInt(unit, 16)),
  );
  return { id: `${parts[1]}${parts[3]}`, tenant };
}

/**
 * The authenticated caller. `key` is a small integer that stands for its owner text (`ownerOf`: id and tenant) on the hot
 * path (sessions, streams, tasks, processes of its own), so that no string keys are built per call.
 */
export interface Principal {
  /** `entry/subject`, for example `ci/ci`, `local/ada` or `anonymous`. */
  readonly id: string;
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
