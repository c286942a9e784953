import { describe, expect, it } from 'vitest';
import { UriTemplate } from './uri-template.ts';

describe('UriTemplate', () => {
  it.each([
    ['demo://text/{id}', 'demo://text/1', true],
    ['demo://text/{id}', 'demo://text/', false],
    ['demo://text/{id}', 'demo://text/1/2', false],
    ['demo://text/{id}', 'demo://blob/1', false],
    ['file:///{+path}', 'file:///a/b/c?x#y', true],
    ['file://{/path*}', 'file:///a/b', true],
    ['file://{/name}', 'file:///a/b', false],
    ['db://{table}/{row}.json', 'db://t/a.b.json', true],
    ['db://{table}/{row}.json', 'db://t/a.json.x', false],
    ['s://find{?q,page}', 's://find', true],
    ['s://find{?q,page}', 's://find?q=1&page=/2', true],
    ['s://find{?q,page}', 's://found', false],
    ['a://{+x}/end{y}', 'a://1/end/end2', true],
    ['a://{x}{.ext}', 'a://name', true],
    ['a://b', 'a://b', true],
    ['a://{x}', 'a://ü😀', true],
  ])('%s on %s: %s', (template, uri, expected) => {
    expect(UriTemplate.compile(template)?.matches(uri)).toBe(expected);
  });

  it.each([
    'a://{',
    'a://}',
    'a://{}',
    'a://{x{y}}',
    `a://${'{x}'.repeat(33)}`,
    `a://${'x'.repeat(2048)}`,
  ])('refuses %s', (template) => expect(UriTemplate.compile(template)).toBeUndefined());

  it('CVE-2026-0621 (TypeScript SDK): stays linear on nested reserved expansions', () => {
    const template = UriTemplate.compile(`a://${'{+x}a'.repeat(30)}b`)!;
    expect(template.matches(`a://${'a'.repeat(8000)}`)).toBe(false);
    expect(template.matches(`a://${'a'.repeat(9000)}`)).toBe(false);
  });
});
