import { identityAssertionId, readIdentityAssertion } from '../core/identity-assertion.ts';
import type { Secrets } from '../core/secrets.ts';
import { subjectToken } from '../identity/subject-token.ts';
import type { SubjectTokens } from '../upstream/auth/credentials.ts';

/** The caller's own token as it came, and the ID token that the bridge keeps of its sign-in. */
export function subjectTokens(secrets: Secrets | undefined): SubjectTokens {
  return {
    accessToken: subjectToken,
    idToken: async (principal) => {
      const id = identityAssertionId(principal.id, principal.entry);
      const text = await secrets?.get(id, 'exchange');
      return readIdentityAssertion(text)?.idToken;
    },
  };
}
