import { hostname } from 'node:os';
import { describe, expect, it } from 'vitest';
import type { ContainerConfig } from '../../src/runtime/container-config.js';
import { lowerToLaunchSpec } from '../../src/runtime/launch-spec.js';
import { buildProcessSpec, type ImageProcess } from '../../src/runtime/process-spec.js';
import type { SandboxConfig } from '../../src/runtime/sandbox-config.js';
import { encodeLaunchSpec } from '../../src/runtime/supervisor-protocol.js';

const IMAGE: ImageProcess = {
  user: '',
  env: [],
  entrypoint: [],
  cmd: [],
  workingDirectory: '',
  stopSignal: '',
};

const SECURITY: ContainerConfig['security'] = {
  privileged: false,
  readOnlyRootFilesystem: false,
  noNewPrivileges: true,
  addCapabilities: [],
  dropCapabilities: [],
  seccomp: 'default',
};

interface Changes {
  readonly container?: Partial<ContainerConfig>;
  readonly sandbox?: Partial<SandboxConfig>;
  readonly image?: Partial<ImageProcess>;
  readonly pidNamespacePid?: number;
  readonly hostCapabilities?: bigint;
}

function build({ container, sandbox, image, ...rest }: Changes) {
  return buildProcessSpec({
    container: {
      name: 'app',
      attempt: 0,
      image: 'id',
      command: ['/bin/app'],
      env: [],
      mounts: [],
      resources: {},
      security: SECURITY,
      terminal: false,
      stdin: false,
      stdinOnce: false,
      labels: {},
      annotations: {},
      ...container,
    },
    sandbox: {
      name: 'web',
      namespace: 'default',
      uid: 'u',
      attempt: 0,
      hostname: 'web',
      labels: {},
      annotations: {},
      logDirectory: '/logs',
      hostNetwork: false,
      hostPid: false,
      hostIpc: false,
      shareProcessNamespace: false,
      onOwnerExit: 'kill',
      ...sandbox,
    },
    image: { ...IMAGE, ...image },
    user: { uid: 1000, gid: 1001, groups: [1001], home: '/home/app' },
    cgroup: 'cais/a/b',
    namespacesPid: 42,
    openFiles: { soft: 1024, hard: 4096 },
    hostCapabilities: (1n << 41n) - 1n,
    ...rest,
  });
}

describe('buildProcessSpec()', () => {
  it.each([
    [undefined, undefined, ['e', 'c']],
    [['x'], undefined, ['x']],
    [undefined, ['y'], ['e', 'y']],
    [['x'], ['y'], ['x', 'y']],
    [[], [], ['e', 'c']],
  ])('command %j and args %j against ENTRYPOINT and CMD give %j', (command, args, expected) => {
    const spec = build({
      image: { entrypoint: ['e'], cmd: ['c'] },
      container: {
        command: command ?? [],
        ...(args === undefined ? {} : { args }),
      },
    });
    expect(spec.process.args).toEqual(expected);
  });

  it('refuses to run nothing', () => {
    expect(() => build({ container: { command: [] } })).toThrow('no command specified');
  });

  it("layers the environment: defaults, the image's, the container's; later duplicates win", () => {
    const { env } = build({
      image: { env: ['PATH=/image', 'A=image', 'B=image=x', 'novalue', '=odd'] },
      container: {
        env: [
          ['A', 'pod'],
          ['C', '1'],
          ['C', '2\nline'],
        ],
        terminal: true,
      },
    }).process;
    expect(env).toEqual([
      'PATH=/image',
      'HOSTNAME=web',
      'HOME=/home/app',
      'TERM=xterm',
      'A=pod',
      'B=image=x',
      'C=2\nline',
    ]);
  });

  it("HOSTNAME is the node's with the host's network, and the image may set it", () => {
    expect(build({ sandbox: { hostNetwork: true } }).process.env).toContain(
      `HOSTNAME=${hostname()}`,
    );
    expect(build({ image: { env: ['HOSTNAME=image'] } }).process.env).toContain('HOSTNAME=image');
  });

  it.each([
    ['', 'x'],
    ['A=B', 'x'],
    ['A', 'b\0'],
    ['A', 'x'.repeat(140_000)],
  ])('refuses the variable %j', (name, value) => {
    expect(() => build({ container: { env: [[name, value]] } })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
  });

  it('workingDirectory overrides WORKDIR, default /', () => {
    expect(build({}).process.cwd).toBe('/');
    expect(build({ image: { workingDirectory: '/w' } }).process.cwd).toBe('/w');
    expect(
      build({ image: { workingDirectory: '/w' }, container: { workingDirectory: '/x' } }).process
        .cwd,
    ).toBe('/x');
  });

  it('gives the default capabilities, with empty inheritable and ambient sets', () => {
    const { capabilities } = build({}).process;
    expect(capabilities.bounding).toHaveLength(14);
    expect(capabilities.bounding).toContain('CAP_NET_BIND_SERVICE');
    expect(capabilities.bounding).not.toContain('CAP_SYS_ADMIN');
    expect(capabilities.inheritable).toEqual([]);
    expect(capabilities.ambient).toEqual([]);
  });

  it.each([
    [{ dropCapabilities: ['ALL'] }, []],
    [{ dropCapabilities: ['all'], addCapabilities: ['net_admin'] }, ['CAP_NET_ADMIN']],
    [
      { dropCapabilities: ['ALL'], addCapabilities: ['CAP_CHOWN', 'KILL'] },
      ['CAP_CHOWN', 'CAP_KILL'],
    ],
  ])('capabilities %j give %j', (changes, expected) => {
    const { capabilities } = build({
      container: { security: { ...SECURITY, ...changes } },
    }).process;
    expect(capabilities.bounding).toEqual(expected);
  });

  it('ALL adds every capability but dropped ones; what the host lacks is left out', () => {
    const all = build({
      container: {
        security: { ...SECURITY, addCapabilities: ['ALL'], dropCapabilities: ['SYS_ADMIN'] },
      },
      hostCapabilities: ((1n << 41n) - 1n) & ~(1n << 24n),
    }).process.capabilities.bounding;
    expect(all).toHaveLength(39);
    expect(all).not.toContain('CAP_SYS_ADMIN');
    expect(all).not.toContain('CAP_SYS_RESOURCE');
  });

  it('refuses an unknown capability', () => {
    expect(() =>
      build({ container: { security: { ...SECURITY, addCapabilities: ['CAP_NOPE'] } } }),
    ).toThrow('Unknown capability "CAP_NOPE"');
  });

  it("a caller's mount replaces the default one at its place", () => {
    const { mounts } = build({
      container: {
        mounts: [
          {
            type: 'bind',
            hostPath: '/host/shm',
            containerPath: '/dev/shm/',
            readOnly: true,
            propagation: 'hostToContainer',
          },
          { type: 'tmpfs', containerPath: '/tmp', sizeBytes: 1024 },
        ],
      },
    });
    expect(mounts.filter(({ destination }) => destination === '/dev/shm')).toEqual([
      {
        destination: '/dev/shm',
        type: 'bind',
        source: '/host/shm',
        options: ['rbind', 'rslave', 'ro'],
      },
    ]);
    expect(mounts.find(({ destination }) => destination === '/tmp')).toMatchObject({
      type: 'tmpfs',
    });
  });

  it.each(['/', '/proc', '/proc/sys', '/a/../../etc', 'relative', '/a\0', `/${'x'.repeat(5000)}`])(
    'refuses the mount destination %j',
    (containerPath) => {
      expect(() =>
        build({
          container: { mounts: [{ type: 'bind', hostPath: '/', containerPath, readOnly: true }] },
        }),
      ).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    },
  );

  it('privileged: every device, no masks, writable /sys', () => {
    const { linux, mounts } = build({
      container: { security: { ...SECURITY, privileged: true } },
    });
    expect(linux.maskedPaths).toEqual([]);
    expect(linux.resources.devices).toEqual([{ allow: true, type: 'a', access: 'rwm' }]);
    expect(mounts.find(({ destination }) => destination === '/sys')?.options).toContain('rw');
  });

  it('names the namespaces of the pod', () => {
    const types = (changes: Changes) =>
      build(changes).linux.namespaces.map(({ type, path }) => (path ? `${type}=${path}` : type));
    expect(types({})).toEqual([
      'mount',
      'cgroup',
      'pid',
      'network=/proc/42/ns/net',
      'uts=/proc/42/ns/uts',
      'ipc=/proc/42/ns/ipc',
    ]);
    expect(types({ sandbox: { hostNetwork: true, hostPid: true, hostIpc: true } })).toEqual([
      'mount',
      'cgroup',
    ]);
    expect(types({ pidNamespacePid: 7 })).toContain('pid=/proc/7/ns/pid');
  });
});

describe('lowerToLaunchSpec()', () => {
  const context = {
    id: 'c1',
    cgroups: ['/cg/a'],
    stdin: 'null' as const,
    files: [
      { destination: '/etc/hosts', content: 'h', mode: 0o644 },
      { destination: '/etc/hostname', content: 'n', mode: 0o644 },
    ],
    seccomp: new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]),
    stopSignal: 15,
  };

  it('carries process, mounts, limits and cgroups over', () => {
    const launch = lowerToLaunchSpec(
      build({
        container: {
          resources: { oomScoreAdj: 500 },
          mounts: [
            {
              type: 'bind',
              hostPath: '/h',
              containerPath: '/data',
              readOnly: true,
              recursiveReadOnly: true,
            },
          ],
        },
      }),
      context,
    );
    expect(launch).toMatchObject({
      id: 'c1',
      kind: 'container',
      arguments: ['/bin/app'],
      uid: 1000,
      gid: 1001,
      umask: 0o022,
      rlimits: [{ resource: 7, soft: 1024, hard: 4096 }],
      oomScoreAdj: 500,
      pidNamespace: 'own',
      rootFd: 0,
      cgroups: ['/cg/a'],
      noNewPrivileges: true,
    });
    expect(launch.capabilities?.inheritable).toBe(0n);
    expect(launch.capabilities?.bounding).toBe(0xa80425fbn);
    expect(launch.mounts?.[0]).toEqual({
      type: 'proc',
      destination: '/proc',
      flags: 2 | 4 | 8,
      recursiveReadonly: false,
    });
    expect(launch.mounts?.[1]).toMatchObject({ data: 'mode=755,size=65536k' });
    expect(launch.mounts?.find(({ destination }) => destination === '/data')).toMatchObject({
      type: 'bind',
      source: '/h',
      destination: '/data',
      flags: 1 | 4096 | 16384,
      propagation: (1 << 18) | 16384,
      recursiveReadonly: true,
    });
    expect(encodeLaunchSpec(launch).byteLength).toBeGreaterThan(500);
  });

  it('leaves a file out that the container mounts itself', () => {
    const spec = build({
      container: {
        mounts: [{ type: 'bind', hostPath: '/h', containerPath: '/etc/hosts', readOnly: true }],
      },
    });
    const { files } = lowerToLaunchSpec(spec, context);
    expect(files?.map(({ destination }) => destination)).toEqual(['/etc/hostname']);
  });

  it("knows the pod's and the host's process ids", () => {
    expect(lowerToLaunchSpec(build({ pidNamespacePid: 1 }), context).pidNamespace).toBe('pod');
    expect(lowerToLaunchSpec(build({ sandbox: { hostPid: true } }), context).pidNamespace).toBe(
      'host',
    );
  });
});
