/** Shared by proxy and client to keep the example small. A real proxy reads tokens from its environment. */
export const TOKENS = {
  analyst: 'example-analyst-4kq8z7m2',
  admin: 'example-admin-9x3hv5t1',
} as const;
