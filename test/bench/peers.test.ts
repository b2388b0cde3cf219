import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { containerdConfig, readFeatures } from '../../bench/contestants/containerd-config.mjs';
import { parseVersion, programIn } from '../../bench/contestants/programs.mjs';
import { tar } from '../../bench/contestants/tar.mjs';
import { withUniqueNames } from '../../bench/peers.mjs';

test.each([
  ['containerd github.com/containerd/containerd/v2 2.1.9+unknown ', '2.1.9'],
  ['containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3', '1.6.20'],
  ['podman version 5.8.6', '5.8.6'],
  ['umoci version 0.6.0+ds-1+b1\nimage spec: 1.1.1\n', '0.6.0'],
  ['igzip command line interface 2.31.1', '2.31.1'],
  ['pigz 2.8', '2.8'],
  ['*** Zstandard CLI (64-bit) v1.5.7, by Yann Collet ***', '1.5.7'],
  ['no version', undefined],
])('parseVersion() finds the version in %j', (printed, version) => {
  expect(parseVersion(printed)).toBe(version);
});

const CONFIG = { root: '/mnt/containerd', platform: 'linux/amd64' };

test('containerdConfig() tells containerd 1.6 nothing that it does not know', () => {
  const features = readFeatures('version = 2\n[plugins]\n');
  expect(features).toEqual({ configVersion: 2, erofs: false, concurrentUnpacks: false });
  const config = containerdConfig({ ...CONFIG, features, snapshotter: 'overlayfs' });
  expect(config).toMatch(/^version = 2\nroot = "\/mnt\/containerd"\n/);
  expect(config).not.toContain('transfer');
});

test('containerdConfig() makes the erofs differ unpack, several layers at once where it can', () => {
  const defaults = [
    'version = 3',
    "  [plugins.'io.containerd.differ.v1.erofs']",
    "  [plugins.'io.containerd.transfer.v1.local']",
    '    max_concurrent_unpacks = 1',
  ].join('\n');
  const features = readFeatures(defaults);
  expect(features).toEqual({ configVersion: 3, erofs: true, concurrentUnpacks: true });
  const config = containerdConfig({ ...CONFIG, features, snapshotter: 'erofs' });
  expect(config).toContain('max_concurrent_unpacks = 3');
  expect(config).toContain('snapshotter = "erofs"');
  expect(config.match(/\[plugins\."io\.containerd\.transfer\.v1\.local"\]/g)).toHaveLength(1);
});

test('programIn() finds a program whose link leads elsewhere outside the root', () => {
  const root = mkdtempSync(join(tmpdir(), 'cais-bench-'));
  try {
    mkdirSync(join(root, 'usr/bin'), { recursive: true });
    symlinkSync('/nowhere/podman', join(root, 'usr/bin/podman'));
    expect(programIn(root, 'podman')).toBe('/usr/bin/podman');
    expect(programIn(root, 'umoci')).toBeUndefined();
  } finally {
    rmSync(root, { recursive: true });
  }
});

test('withUniqueNames() renames a contestant that is there twice', () => {
  const one = tar({ decompressor: 'gzip', version: '1.12' });
  const missing = { product: 'podman', missing: 'not installed' };
  expect(withUniqueNames([one, missing, one]).map((it) => ('name' in it ? it.name : it))).toEqual([
    'tar-gzip',
    missing,
    'tar-gzip-peer-root',
  ]);
});
