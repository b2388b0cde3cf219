import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type BundleOptions,
  ociConfig,
  removeBundle,
  writeBundle,
} from '../../src/runtime/bundle.js';
import { containerMounts, DEFAULT_DEVICES } from '../../src/runtime/mounts.js';
import type { RuntimeSpec, SpecMount } from '../../src/runtime/oci-spec.js';

const NONE = { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] };
const FILES = [
  { destination: '/etc/hosts', content: 'hosts\n', mode: 0o644 },
  { destination: '/etc/hostname', content: 'name\n', mode: 0o644 },
];

function spec(mounts: readonly SpecMount[] = kernelMounts()): RuntimeSpec {
  return {
    ociVersion: '1.2.0',
    process: {
      terminal: false,
      user: { uid: 1, gid: 2, umask: 0o22, additionalGids: [] },
      args: ['x'],
      env: [],
      cwd: '/',
      capabilities: NONE,
      rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1, hard: 2 }],
      noNewPrivileges: true,
      oomScoreAdj: -998,
    },
    root: { path: 'rootfs', readonly: true },
    hostname: 'web',
    mounts,
    annotations: { 'run.oci.handler': 'krun' },
    linux: {
      namespaces: [{ type: 'mount' }, { type: 'pid', path: '/proc/1/ns/pid' }],
      devices: DEFAULT_DEVICES,
      cgroupsPath: '/cais/a/b',
      resources: { devices: [], memory: { limit: 1 }, unified: { 'memory.high': '5' } },
      sysctl: {},
      maskedPaths: ['/proc/kcore'],
      readonlyPaths: [],
      rootfsPropagation: 'private',
    },
  };
}

function kernelMounts(): SpecMount[] {
  return containerMounts(
    {
      mounts: [],
      security: {
        privileged: false,
        readOnlyRootFilesystem: false,
        noNewPrivileges: true,
        addCapabilities: [],
        dropCapabilities: [],
        seccomp: 'default',
      },
    },
    { hostIpc: false },
  );
}

interface Config {
  readonly ociVersion: string;
  readonly process: Record<string, unknown>;
  readonly root: { readonly path: string };
  readonly mounts: readonly SpecMount[];
  readonly annotations?: unknown;
  readonly linux: Record<string, unknown>;
}

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cais-bundle-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const configOf = (changes: Partial<BundleOptions> = {}) =>
  ociConfig({ directory: '/b', spec: spec(), files: FILES, ...changes }) as Config;

describe('ociConfig()', () => {
  it('keeps what runtimes would take orders from, or fail at, out', () => {
    const config = configOf();
    expect(config.annotations).toBeUndefined();
    expect(config.process).not.toHaveProperty('oomScoreAdj');
    expect(config.linux['resources']).toEqual({ devices: [], memory: { limit: 1 } });
    expect(config.ociVersion).toMatch(/^1\.0\./);
  });

  it("binds the sandbox's shared memory and the pod's files", () => {
    const { mounts } = configOf();
    expect(mounts.find(({ destination }) => destination === '/dev/shm')).toMatchObject({
      type: 'bind',
      source: '/b/shm',
      options: ['bind', 'rprivate', 'nosuid', 'noexec', 'nodev'],
    });
    expect(mounts.at(-1)).toMatchObject({ destination: '/etc/hostname', type: 'bind' });
    const own = { destination: '/etc/hosts', type: 'bind', source: '/h', options: [] };
    const hosts = configOf({ spec: spec([own]) }).mounts.filter(
      ({ destination }) => destination === '/etc/hosts',
    );
    expect(hosts).toEqual([own]);
  });

  it('joins the pid namespace that it is given, and adds the filter', () => {
    const seccomp = { defaultAction: 'SCMP_ACT_ALLOW' };
    const { linux } = configOf({ pidNamespacePath: '/proc/7/ns/pid', seccomp });
    expect(linux['namespaces']).toContainEqual({ type: 'pid', path: '/proc/7/ns/pid' });
    expect(linux['seccomp']).toEqual(seccomp);
  });

  it.each([
    ['rprivate', 'rprivate'],
    ['rslave', 'rslave'],
    ['rshared', 'rshared'],
  ])('a volume that is %s gets a root that is %s', (option, expected) => {
    const volume = { destination: '/v', type: 'bind', source: '/h', options: ['rbind', option] };
    expect(configOf({ spec: spec([volume]) }).linux['rootfsPropagation']).toBe(expected);
  });

  it('mounts images from where the supervisor puts them', () => {
    const image = { destination: '/i', type: 'bind', source: 'image:1', options: ['bind', 'ro'] };
    const { mounts } = configOf({ spec: spec([image]), files: [] });
    expect(mounts).toEqual([{ ...image, source: '/b/image1' }]);
  });
});

describe('writeBundle()', () => {
  it('makes a private bundle, replaces an older one, and says what is to be mounted in it', async () => {
    const path = join(directory, 'bundle');
    const options = { directory: path, spec: spec(), files: FILES };
    await writeBundle(options);
    const { mounts } = await writeBundle({ ...options, imageMounts: [{}, { subPath: 'a/b' }] });
    expect(mounts).toEqual([
      { path: join(path, 'shm') },
      { path: join(path, 'image0'), sourceFd: 1 },
      { path: join(path, 'image1'), sourceFd: 2, subPath: 'a/b' },
    ]);
    expect(statSync(path).mode & 0o777).toBe(0o700);
    const config = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8')) as Config;
    expect(config.root.path).toBe(join(path, 'rootfs'));
    const hosts = config.mounts.find(({ destination }) => destination === '/etc/hosts');
    expect(readFileSync(hosts?.source ?? '', 'utf8')).toBe('hosts\n');
    await removeBundle(path);
    await removeBundle(path);
  });
});
