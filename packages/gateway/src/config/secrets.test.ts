import { describe, expect, it } from 'vitest';
import { isPlaceholder, isPlainSecret, isSecretName, looksSecret } from './secrets.ts';

describe('secrets', () => {
  it('are known by the names of their variables', () => {
    for (const name of [
      'API_KEY',
      'GITHUB_TOKEN',
      'dbPassword',
      'x-api-key',
      'Authorization',
      'CLIENT_SECRET',
      'OPENAI_APIKEY',
      'PAT',
    ]) {
      expect(isSecretName(name), name).toBe(true);
    }
    for (const name of [
      'PATH',
      'KEYBOARD',
      'TOKEN_URL',
      'API_KEY_FILE',
      'MONKEY',
      'PASSENGER',
      'x-trace',
      'KEY_ID',
      'AUTHOR',
    ]) {
      expect(isSecretName(name), name).toBe(false);
    }
  });

  it('are known by their shape', () => {
    for (const text of [
      'sk-proj-0123456789abcdef',
      'ghp_0123456789abcdef0123456789',
      'Bearer 0123456789',
      'xoxb-0123456789-abc',
      'AKIA0123456789ABCDEF',
      'postgres://u:p@h/db',
      '--header=Authorization: ghp_0123456789abcdef0123456789',
    ]) {
      expect(looksSecret(text), text).toBe(true);
    }
    for (const text of ['npx', '-y', '@scope/pkg', 'https://h/x', 'sk-short', 'Bearer x'])
      expect(looksSecret(text), text).toBe(false);
  });

  it('are told from placeholders and switches', () => {
    for (const text of [
      'changeme',
      'change-me-please',
      '<token>',
      'your-api-key',
      'xxxxxxxx',
      'Bearer your-token-here',
      'secret',
      'aaaaaaaaaaaaaaaa',
      'TODO',
    ]) {
      expect(isPlaceholder(text), text).toBe(true);
      expect(isPlainSecret('API_KEY', text), text).toBe(false);
    }
    expect(isPlaceholder('8f3b1c9e2d7a4f60')).toBe(false);
    expect(isPlainSecret('API_KEY', '8f3b1c9e2d7a4f60')).toBe(true);
    expect(isPlainSecret('USE_TOKEN', 'true')).toBe(false);
    expect(isPlainSecret('MODE', 'production')).toBe(false);
  });
});
