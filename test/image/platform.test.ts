import { describe, expect, it } from 'vitest';
import {
  formatPlatform,
  matchesPlatform,
  normalizePlatform,
  parsePlatform,
  rankByPlatform,
} from '../../src/image/platform.js';

/** What an index with these platforms answers for `wanted`, best first. */
function rank(offered: readonly (string | undefined)[], wanted: string): (string | undefined)[] {
  const entries = offered.map((text) => {
    if (text === undefined) return { text };
    const [os = '', architecture = '', variant] = text.split('/');
    return { text, platform: variant ? { os, architecture, variant } : { os, architecture } };
  });
  return rankByPlatform(entries, parsePlatform(wanted)).map(({ text }) => text);
}

const COMMON = ['linux/amd64', 'linux/arm64', 'linux/arm/v7', 'linux/arm/v6', 'linux/386'];

describe('rankByPlatform()', () => {
  it.each([
    ['linux/amd64', 'linux/amd64'],
    ['linux/x86_64', 'linux/amd64'],
    ['linux/arm64/v8', 'linux/arm64'],
    ['linux/aarch64', 'linux/arm64'],
    ['linux/arm/v7', 'linux/arm/v7'],
    ['linux/arm', 'linux/arm/v7'],
    ['linux/arm/v6', 'linux/arm/v6'],
    ['linux/arm/v8', 'linux/arm/v7'],
    ['linux/386', 'linux/386'],
    ['linux/s390x', undefined],
    ['windows/amd64', undefined],
  ])('for %s takes %s', (wanted, best) => {
    expect(rank(COMMON, wanted)[0]).toBe(best);
  });

  it('falls back from arm64 to arm and from amd64 to 386', () => {
    const offered = ['linux/arm/v7', 'linux/386'];
    expect(rank(offered, 'linux/arm64')).toEqual(['linux/arm/v7']);
    expect(rank(offered, 'linux/amd64')).toEqual(['linux/386']);
  });

  it('never matches upwards', () => {
    expect(rank(['linux/arm/v7'], 'linux/arm/v6')).toEqual([]);
    expect(rank(['linux/amd64/v3'], 'linux/amd64/v2')).toEqual([]);
    expect(rank(['linux/amd64/v3', 'linux/amd64'], 'linux/amd64/v3')).toEqual([
      'linux/amd64/v3',
      'linux/amd64',
    ]);
    expect(rank(['linux/arm64/v9'], 'linux/arm64')).toEqual([]);
    expect(rank(['linux/arm64/v8.5', 'linux/arm64'], 'linux/arm64/v9')).toEqual([
      'linux/arm64/v8.5',
      'linux/arm64',
    ]);
  });

  it('keeps the order of equal entries, drops attestations, puts entries without platform last', () => {
    const offered = ['unknown/unknown', undefined, 'linux/amd64', 'linux/amd64/v1', 'linux/386'];
    expect(rank(offered, 'linux/amd64')).toEqual([
      'linux/amd64',
      'linux/amd64/v1',
      'linux/386',
      undefined,
    ]);
  });

  it('refuses entries that need features of the operating system', () => {
    const entry = { platform: { os: 'linux', architecture: 'amd64', osFeatures: ['win32k'] } };
    expect(rankByPlatform([entry], parsePlatform('linux/amd64'))).toEqual([]);
  });
});

describe('normalizePlatform()', () => {
  it.each([
    ['linux', 'armhf', undefined, 'linux/arm/v7'],
    ['linux', 'armel', undefined, 'linux/arm/v6'],
    ['linux', 'arm', '6', 'linux/arm/v6'],
    ['linux', 'arm64', '8', 'linux/arm64'],
    ['linux', 'amd64', 'v1', 'linux/amd64'],
    ['macos', 'i386', undefined, 'darwin/386'],
  ])('%s %s %s is %s', (os, architecture, variant, expected) => {
    const platform = variant === undefined ? { os, architecture } : { os, architecture, variant };
    expect(formatPlatform(normalizePlatform(platform))).toBe(expected);
  });
});

describe('parsePlatform()', () => {
  it.each(['', 'linux', 'linux/', '/amd64', 'a/b/c/d', 'linux/amd 64', 'linux/amd64/'])(
    'refuses %j',
    (text) => {
      expect(() => parsePlatform(text)).toThrow('expected os/architecture');
    },
  );
});

it('matchesPlatform() follows the same preferences', () => {
  expect(matchesPlatform({ os: 'linux', architecture: '386' }, parsePlatform('linux/amd64'))).toBe(
    true,
  );
  expect(
    matchesPlatform({ os: 'linux', architecture: 'arm64' }, parsePlatform('linux/amd64')),
  ).toBe(false);
});
