/**
 * Cites a requirement from a test: `verifies('R1-01')` inside the test or its describe block. The requirements
 * report finds citations by reading the sources, so the ids must be literal. A citation is honest: the test
 * would fail if the behaviour were gone.
 */
export function verifies(..._ids: readonly `${'R' | 'C' | 'X'}${string}-${string}`[]): void {}
