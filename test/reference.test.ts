import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  canonicalName,
  effectiveTag,
  familiarName,
  InvalidReferenceError,
  parseReference,
  type Reference,
} from '../src/reference.js';

const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`;

function reasonOf(text: string): string {
  try {
    parseReference(text);
  } catch (error) {
    if (error instanceof InvalidReferenceError) return error.reason;
    throw error;
  }
  return 'accepted';
}

describe('parseReference()', () => {
  it.each<[string, Reference]>([
    ['pause', { domain: 'docker.io', path: 'library/pause' }],
    ['example.registry:10443/app/img', { domain: 'example.registry:10443', path: 'app/img' }],
    ['index.docker.io/redis:7', { domain: 'docker.io', path: 'library/redis', tag: '7' }],
    ['docker.io/a/b', { domain: 'docker.io', path: 'a/b' }],
    ['localhost:5000', { domain: 'docker.io', path: 'library/localhost', tag: '5000' }],
    ['localhost:5000/x', { domain: 'localhost:5000', path: 'x' }],
    ['localhost/x', { domain: 'localhost', path: 'x' }],
    ['localhost', { domain: 'docker.io', path: 'library/localhost' }],
    ['Foo/bar:x', { domain: 'Foo', path: 'bar', tag: 'x' }],
    ['[fd00::1]:5000/a:v1', { domain: '[fd00::1]:5000', path: 'a', tag: 'v1' }],
    ['a__b/c---d.e', { domain: 'docker.io', path: 'a__b/c---d.e' }],
    [
      `127.0.0.1:5000/a:v1@${DIGEST}`,
      { domain: '127.0.0.1:5000', path: 'a', tag: 'v1', digest: DIGEST as `sha256:${string}` },
    ],
  ])('accepts %s', (text, expected) => {
    expect(parseReference(text)).toEqual(expected);
  });

  it.each([
    ['', 'repository name must have at least one component'],
    ['foo/Bar:x', 'invalid reference format: repository name (foo/Bar) must be lowercase'],
    ['My/App', 'invalid reference format: repository name (App) must be lowercase'],
    ['foo//bar', 'invalid reference format'],
    ['foo:', 'invalid reference format'],
    ['-foo', 'invalid reference format'],
    ['a:b:c', 'invalid reference format'],
    ['a..b', 'invalid reference format'],
    ['a_-b', 'invalid reference format'],
    ['a/', 'invalid reference format'],
    [' a', 'invalid reference format'],
    ['a\n', 'invalid reference format'],
    ['http://host/x', 'invalid reference format'],
    ['docker://x', 'invalid reference format'],
    ['host.:5000/x', 'invalid reference format'],
    ['[fd00::1%eth0]/x', 'invalid reference format'],
    [`a:${'t'.repeat(129)}`, 'invalid reference format'],
    [
      'f'.repeat(64),
      `invalid repository name (${'f'.repeat(64)}), cannot specify 64-byte hexadecimal strings`,
    ],
    [`a/${'b'.repeat(254)}`, 'repository name must not be more than 255 characters'],
    ['a@sha256:../..', 'invalid reference format'],
    [`a@sha256:${'0'.repeat(63)}`, 'invalid checksum digest length'],
    [`a@${DIGEST.toUpperCase().replace('SHA256', 'sha256')}`, 'invalid checksum digest length'],
    [`a@md5:${'0'.repeat(32)}`, 'unsupported digest algorithm'],
    [`a@${DIGEST}:x`, 'invalid reference format'],
  ])('refuses %j', (text, reason) => {
    expect(reasonOf(text)).toBe(reason);
  });

  it('counts the path after normalisation, without the domain', () => {
    expect(reasonOf('b'.repeat(247))).toBe('accepted');
    expect(reasonOf('b'.repeat(248))).toBe('repository name must not be more than 255 characters');
    expect(reasonOf(`registry.example/${'b'.repeat(255)}`)).toBe('accepted');
  });

  it('throws nothing but its own error, in bounded time, for any text', () => {
    const alphabet = fc.constantFrom(...'aZ0.-_/:@[]%\n é', 'sha256:', 'localhost', '--');
    const texts = fc.oneof(
      fc.string(),
      fc.array(alphabet, { maxLength: 200 }).map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(texts, (text) => {
        expect(reasonOf(text)).toBeTypeOf('string');
      }),
    );
  });

  it('takes linear time for hostile repetitions', () => {
    for (const part of ['a-', 'a.', '-', 'a/', '_', 'A-']) reasonOf(`${part.repeat(100_000)}!`);
  });
});

const component = fc
  .array(fc.stringMatching(/^[a-z0-9]{1,8}$/), { minLength: 1, maxLength: 3 })
  .chain((words) => fc.constantFrom('.', '_', '__', '-', '---').map((gap) => words.join(gap)));
const references = fc
  .record({
    domain: fc.constantFrom(
      'docker.io',
      'localhost',
      'Host',
      'a.example:5000',
      '[::1]',
      '[::1]:80',
    ),
    path: fc.array(component, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/')),
    tag: fc.option(fc.stringMatching(/^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,20}$/), { nil: undefined }),
    digest: fc.option(fc.constant(DIGEST), { nil: undefined }),
  })
  .map(({ domain, path, tag, digest }) => {
    const text = `${domain}/${path}${tag ? `:${tag}` : ''}${digest ? `@${digest}` : ''}`;
    return parseReference(text);
  });

describe('names', () => {
  it('canonicalName() parses to what it was made from', () => {
    fc.assert(
      fc.property(references, (reference) => {
        const again = parseReference(canonicalName(reference));
        const { tag = reference.digest ? undefined : 'latest', ...rest } = reference;
        expect(again).toEqual(tag === undefined ? rest : { ...rest, tag });
      }),
    );
  });

  it('familiarName() means the same image as canonicalName()', () => {
    fc.assert(
      fc.property(references, (reference) => {
        expect(canonicalName(parseReference(familiarName(reference)))).toBe(
          canonicalName(reference),
        );
      }),
    );
  });

  it.each([
    ['pause', 'docker.io/library/pause:latest', 'pause:latest'],
    ['docker.io/a/b:1', 'docker.io/a/b:1', 'a/b:1'],
    ['docker.io/library/a/b', 'docker.io/library/a/b:latest', 'library/a/b:latest'],
    ['docker.io/foo.bar/x', 'docker.io/foo.bar/x:latest', 'docker.io/foo.bar/x:latest'],
    [`a:v1@${DIGEST}`, `docker.io/library/a:v1@${DIGEST}`, `a:v1@${DIGEST}`],
  ])('%s is %s and %s', (text, canonical, familiar) => {
    const reference = parseReference(text);
    expect(canonicalName(reference)).toBe(canonical);
    expect(familiarName(reference)).toBe(familiar);
  });

  it('effectiveTag() ignores the tag when there is a digest', () => {
    expect(effectiveTag(parseReference('a'))).toBe('latest');
    expect(effectiveTag(parseReference(`a:v1@${DIGEST}`))).toBeUndefined();
  });
});
