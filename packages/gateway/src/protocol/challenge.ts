/** `WWW-Authenticate` of the bearer scheme (RFC 6750 section 3, RFC 9728 section 5.1). */
export interface BearerChallenge {
  /** Undefined: no credential was sent. */
  readonly error?: 'invalid_token' | 'insufficient_scope' | undefined;
  /** Scopes with spaces between: all that the operation needs. */
  readonly scope?: string | undefined;
  /** URL of the metadata of the protected resource. */
  readonly metadata?: string | undefined;
}

/** The value of the header. What cannot stand in a quoted string of ours is left out: it was checked before. */
export function bearerChallenge({ error, scope, metadata }: BearerChallenge): string {
  const parameters: string[] = [];
  if (error !== undefined) parameters.push(`error="${error}"`);
  if (scope !== undefined && scope !== '') parameters.push(`scope="${plain(scope)}"`);
  if (metadata !== undefined) parameters.push(`resource_metadata="${plain(metadata)}"`);
  return parameters.length === 0 ? 'Bearer' : `Bearer ${parameters.join(', ')}`;
}

function plain(text: string): string {
  return text.replace(/[^\x20\x21\x23-\x5b\x5d-\x7e]/g, '');
}
