import { InvalidArgumentError } from '../errors.js';

/** Operating system, architecture and variant, in Go's words (`linux`, `arm64`, `v8`). */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  readonly osVersion?: string;
  readonly osFeatures?: readonly string[];
}

/** Go's names of Node's architectures, where they differ. */
const NODE_ARCHITECTURES: Readonly<Record<string, string>> = {
  x64: 'amd64',
  ia32: '386',
  ppc64: 'ppc64le',
  mipsel: 'mipsle',
  loong64: 'loong64',
};

const ARCHITECTURE_ALIASES: Readonly<Record<string, readonly [string, string?]>> = {
  x86_64: ['amd64'],
  'x86-64': ['amd64'],
  aarch64: ['arm64'],
  armhf: ['arm', 'v7'],
  armel: ['arm', 'v6'],
  i386: ['386'],
};

const PLATFORM_PART = /^[A-Za-z0-9_.-]{1,64}$/;

/** The platform of this machine. */
export function hostPlatform(): Platform {
  return normalizePlatform({
    os: process.platform,
    architecture: NODE_ARCHITECTURES[process.arch] ?? process.arch,
  });
}

/**
 * Parses `os/architecture[/variant]`.
 * @throws InvalidArgumentError for anything else.
 */
export function parsePlatform(text: string): Platform {
  const [os, architecture, variant, ...rest] = text.split('/');
  const parts = [os, architecture, variant ?? 'none'];
  if (rest.length > 0 || !parts.every((part) => part !== undefined && PLATFORM_PART.test(part))) {
    throw new InvalidArgumentError(
      `Invalid platform ${JSON.stringify(text.slice(0, 200))}: expected os/architecture or os/architecture/variant, for example linux/arm64/v8`,
    );
  }
  const platform = { os: os as string, architecture: architecture as string };
  return normalizePlatform(variant === undefined ? platform : { ...platform, variant });
}

/** `linux/arm/v7`. */
export function formatPlatform({ os, architecture, variant }: Platform): string {
  return variant === undefined ? `${os}/${architecture}` : `${os}/${architecture}/${variant}`;
}

/**
 * One spelling for each platform: aliases resolved, variants that mean the base architecture dropped.
 * @see contracts/kubernetes-semantics.md C8
 */
export function normalizePlatform(platform: Platform): Platform {
  const lower = platform.architecture.toLowerCase();
  const [architecture, impliedVariant] = ARCHITECTURE_ALIASES[lower] ?? [lower];
  const written =
    platform.variant === undefined || platform.variant === '' ? undefined : platform.variant;
  const variant = normalizeVariant(architecture, (written ?? impliedVariant)?.toLowerCase());
  const lowerOs = platform.os.toLowerCase();
  return {
    os: lowerOs === 'macos' ? 'darwin' : lowerOs,
    architecture,
    ...(variant === undefined ? {} : { variant }),
    ...(platform.osVersion === undefined ? {} : { osVersion: platform.osVersion }),
    ...(platform.osFeatures === undefined ? {} : { osFeatures: platform.osFeatures }),
  };
}

function normalizeVariant(architecture: string, variant: string | undefined): string | undefined {
  const prefixed = variant !== undefined && /^[0-9]/.test(variant) ? `v${variant}` : variant;
  switch (architecture) {
    case 'arm':
      return prefixed ?? 'v7';
    case 'arm64':
      if (prefixed === 'v8' || prefixed === 'v8.0') return undefined;
      return prefixed === 'v9.0' ? 'v9' : prefixed;
    case 'amd64':
      return prefixed === 'v1' ? undefined : prefixed;
    default:
      return prefixed;
  }
}

/**
 * Picks the entry of an index for `wanted`. The best by preference wins, equal ones keep the order of the index; entries without
 * a platform come last, since only their own config can tell; attestations (`unknown/unknown`) and everything else never match.
 * @returns All usable entries, best first.
 * @see contracts/kubernetes-semantics.md C9 to C16
 */
export function rankByPlatform<T extends { readonly platform?: Platform }>(
  entries: readonly T[],
  wanted: Platform,
): T[] {
  const preferences = preferenceList(normalizePlatform(wanted));
  const ranked: { readonly entry: T; readonly rank: number }[] = [];
  for (const entry of entries) {
    const rank =
      entry.platform === undefined ? preferences.length : rankOf(entry.platform, preferences);
    if (rank !== -1) ranked.push({ entry, rank });
  }
  // Array.prototype.sort is stable, which "first listed wins" needs.
  return ranked.sort((a, b) => a.rank - b.rank).map(({ entry }) => entry);
}

/** Whether an image of platform `offered` runs on `wanted`. */
export function matchesPlatform(offered: Platform, wanted: Platform): boolean {
  return rankOf(offered, preferenceList(normalizePlatform(wanted))) !== -1;
}

function rankOf(offered: Platform, preferences: readonly Platform[]): number {
  const platform = normalizePlatform(offered);
  // Linux nodes have no features; an entry that needs one does not match (C9).
  if (platform.osFeatures !== undefined && platform.osFeatures.length > 0) return -1;
  return preferences.findIndex(
    (candidate) =>
      candidate.os === platform.os &&
      candidate.architecture === platform.architecture &&
      candidate.variant === platform.variant,
  );
}

/** What a machine of `platform` can run, best first. A higher variant than its own is never in the list. */
function preferenceList(platform: Platform): Platform[] {
  const { os, architecture, variant } = platform;
  const of = (name: string, variants: readonly (string | undefined)[]) =>
    variants.map((each) =>
      normalizePlatform({ os, architecture: name, ...(each ? { variant: each } : {}) }),
    );
  switch (architecture) {
    case 'amd64':
      return [...of('amd64', downFrom(variant ?? 'v1', 1)), ...of('386', [undefined])];
    case 'arm':
      return of('arm', downFrom(variant ?? 'v7', 5));
    case 'arm64':
      return [
        ...of('arm64', arm64Variants(variant ?? 'v8')),
        ...of('arm', ['v8', 'v7', 'v6', 'v5']),
      ];
    default:
      return [platform];
  }
}

/** `v3` down to `v<lowest>`; an unknown variant stands for itself only. */
function downFrom(variant: string, lowest: number): string[] {
  const level = /^v([0-9])$/.exec(variant)?.[1];
  if (level === undefined) return [variant];
  const count = Math.max(Number(level) - lowest + 1, 1);
  return Array.from({ length: count }, (_, step) => `v${Number(level) - step}`);
}

/** Armv9.x contains Armv8.(x+5), and each minor version those below it. */
function arm64Variants(variant: string): string[] {
  const match = /^v([89])(?:\.([0-9]))?$/.exec(variant);
  if (match === null) return [variant];
  const minor = Number(match[2] ?? 0);
  const minors = (major: number, highest: number) =>
    Array.from({ length: highest + 1 }, (_, step) => `v${major}.${highest - step}`);
  return match[1] === '9' ? [...minors(9, minor), ...minors(8, minor + 5)] : minors(8, minor);
}
