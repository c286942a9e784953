/** What stands beside a sealed value: who it belongs to, until when it counts, which version is the last. */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { TollgateError } from '../core/errors.ts';
import type { SecretId, SecretInfo, SecretOwner, SecretPurpose } from '../core/secrets.ts';
import type { StoredHead, VaultHead, VaultOwnerKind } from '../core/vault-records.ts';
import { lengthPrefixed } from './bytes.ts';
import type { Place } from './envelope.ts';

const MAX_NAME = 200;
const MAX_OWNER = 1000;
export const MAX_VALUE = 64 * 1024;
const MAX_LABELS = 4096;

export interface OwnerColumns {
  readonly ownerKind: VaultOwnerKind;
  readonly owner: string;
}

export function ownerColumns(owner: SecretOwner): OwnerColumns {
  switch (owner.kind) {
    case 'gateway':
      return { ownerKind: 'gateway', owner: '' };
    case 'tenant':
      return { ownerKind: 'tenant', owner: owner.tenant };
    case 'principal':
      return { ownerKind: 'principal', owner: owner.principal };
  }
}

/** Throws `invalid_params` for what cannot be kept exactly. */
export function checkId(id: SecretId): void {
  const { ownerKind, owner } = ownerColumns(id.owner);
  if (id.name.length === 0 || id.name.length > MAX_NAME || unusual(id.name)) {
    throw invalid(`The name of a secret has 1 to ${MAX_NAME} characters and no control characters`);
  }
  if (owner.length > MAX_OWNER || unusual(owner) || (ownerKind !== 'gateway' && owner === '')) {
    throw invalid('The owner of a secret is a tenant or a principal of at most 1000 characters');
  }
}

export function checkLabels(labels: Readonly<Record<string, string>> | undefined): string {
  const text = JSON.stringify(labels ?? {});
  if (text.length > MAX_LABELS) throw invalid(`The labels of a secret are larger than ${MAX_LABELS} characters`);
  return text;
}

/** Where the storage keeps it. */
export function slotOf(id: SecretId): string {
  const { ownerKind, owner } = ownerColumns(id.owner);
  const parts = lengthPrefixed(['tgv1 slot', ownerKind, owner, id.purpose, id.name]);
  return createHash('sha256').update(parts).digest('hex');
}

export function placeOf(head: Omit<VaultHead, 'tag'>, version: number = head.version): Place {
  const { ownerKind, owner, record, purpose, name } = head;
  return { ownerKind, owner, record, purpose, name, version };
}

/** Equal values have equal fingerprints; without the root nobody can try values against one. */
export function fingerprintOf(value: Buffer, key: Buffer): string {
  return createHmac('sha256', key).update(value).digest('hex').slice(0, 12);
}

export function tagged(head: Omit<VaultHead, 'tag'>, key: Buffer): VaultHead {
  return { ...head, tag: tagOf(head, key).toString('hex') };
}

/**
 * Throws `vault_unavailable` for a head that this vault did not write: moved from another slot, with another owner,
 * version, state or expiry.
 */
export function verifyHead(head: VaultHead, slot: string, key: Buffer): void {
  const tag = Buffer.from(head.tag, 'hex');
  const expected = tagOf(head, key);
  if (head.slot !== slot || tag.length !== expected.length || !timingSafeEqual(tag, expected)) {
    throw new TollgateError('vault_unavailable', `The record of the secret ${head.name} was changed outside the vault`);
  }
}

function tagOf(head: Omit<VaultHead, 'tag'>, key: Buffer): Buffer {
  const { slot, record, ownerKind, owner, purpose, name, version, state, fingerprint } = head;
  const { createdAt, updatedAt, updatedBy, expiresAt, overlapUntil, labels, reason } = head;
  const numbers = [version, createdAt, updatedAt, expiresAt ?? 'never', overlapUntil].map(String);
  const texts = [slot, record, ownerKind, owner, purpose, name, state, fingerprint, updatedBy, labels, reason];
  return createHmac('sha256', key)
    .update(lengthPrefixed(['tgv1 head', ...texts, ...numbers]))
    .digest();
}

export function infoOf(head: StoredHead, now: number): SecretInfo {
  const expired = head.expiresAt !== undefined && head.expiresAt <= now;
  return {
    id: { owner: secretOwner(head), purpose: head.purpose as SecretPurpose, name: head.name },
    version: head.version,
    fingerprint: head.fingerprint,
    state: head.state !== 'active' ? 'revoked' : expired ? 'expired' : 'active',
    createdAt: head.createdAt,
    updatedAt: head.updatedAt,
    expiresAt: head.expiresAt,
    lastUsedAt: head.lastUsedAt,
    updatedBy: head.updatedBy,
    labels: JSON.parse(head.labels) as Record<string, string>,
  };
}

function secretOwner({ ownerKind, owner }: OwnerColumns): SecretOwner {
  switch (ownerKind) {
    case 'gateway':
      return { kind: 'gateway' };
    case 'tenant':
      return { kind: 'tenant', tenant: owner };
    case 'principal':
      return { kind: 'principal', principal: owner };
  }
}

/** Lone surrogates become one character in UTF-8: two names would share one place. */
function unusual(text: string): boolean {
  return !text.isWellFormed() || /\p{Cc}/u.test(text);
}

function invalid(message: string): TollgateError {
  return new TollgateError('invalid_params', message, { http: 400 });
}
