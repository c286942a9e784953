import { describe, expect, it } from 'vitest';
import { childEnvironment, environmentHints } from './child-env.ts';

describe('environment of a child', () => {
  it('is the base and what is declared', () => {
    const parent = {
      PATH: '/bin',
      HOME: '/home/ada',
      USER: 'ada',
      LANG: 'C',
      LC_TIME: 'de',
      TMPDIR: '/tmp',
      TERM: 'xterm',
      AWS_SECRET_ACCESS_KEY: 'x',
      NODE_OPTIONS: '--require /evil.js',
      LD_PRELOAD: '/evil.so',
      DYLD_INSERT_LIBRARIES: '/evil.dylib',
      LC_: '() { :; }; echo vulnerable',
    };
    expect(childEnvironment({ TOKEN: 't', HOME: '/else' }, { ...parent, LC_X: '() { evil; }' }, 'linux')).toEqual({
      PATH: '/bin',
      HOME: '/else',
      USER: 'ada',
      LANG: 'C',
      LC_TIME: 'de',
      TMPDIR: '/tmp',
      TERM: 'xterm',
      TOKEN: 't',
    });
  });

  it('gives declared names whatever they are, and compares without case on Windows', () => {
    expect(childEnvironment({ NODE_OPTIONS: '-r x' }, { NODE_OPTIONS: '-r y' }, 'linux')).toEqual({
      NODE_OPTIONS: '-r x',
    });
    expect(childEnvironment({ PATH: 'd' }, { Path: 'c', SystemRoot: 'w', SECRET: 's' }, 'win32')).toEqual({
      PATH: 'd',
      SystemRoot: 'w',
    });
  });
});

describe('hints about the environment', () => {
  const parent = { PATH: '/bin', GITHUB_TOKEN: 'ghp', PWD: '/x', PORT: '1' };
  const passed = { PATH: '/bin' };

  it('name what the shell has and stderr asks for, never values', () => {
    const hints = environmentHints(['GITHUB_TOKEN not found in PATH, see PWD'], [], passed, parent);
    expect(hints).toEqual([
      `GITHUB_TOKEN is set in your shell but not passed: add env: { GITHUB_TOKEN: "\${env:GITHUB_TOKEN}" }.`,
    ]);
  });

  it('name what nobody has only when the line speaks of a variable', () => {
    expect(environmentHints(['Missing required environment variable ACME_KEY'], [], passed, parent)).toEqual([
      `ACME_KEY is not set: export it and add env: { ACME_KEY: "\${env:ACME_KEY}" }.`,
    ]);
    expect(environmentHints(['FATAL ERROR: SOME_THING broke', 'ECONNREFUSED'], [], passed, parent)).toEqual([]);
  });

  it('see names in arguments, which no shell expands', () => {
    expect(environmentHints([], [`--port=\${PORT}`], passed, parent)[0]).toContain('PORT is set in your shell');
  });
});
