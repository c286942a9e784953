import { describe, expect, it } from 'vitest';
import { checkNode } from './doctor.ts';

describe('what doctor says of Node', () => {
  it.each(['24.14.0', '24.9.5', '23.99.9', '22.30.0', '24.14'])('%s lacks security fixes', (version) => {
    const { level, what, fix } = checkNode(version);
    expect([level, what]).toEqual(['warning', `Node ${version} lacks security fixes of March 2026`]);
    expect(fix).toContain('24.14.1');
  });

  it.each(['24.14.1', '24.14.2', '24.21.0', '25.0.0', '26.1.0-nightly'])('%s is fine', (version) => {
    expect(checkNode(version)).toEqual({ level: 'fine', what: `Node ${version}`, fix: undefined });
  });
});
