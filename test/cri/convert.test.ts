import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toContainerConfig } from '../../src/cri/convert-container.js';
import { fromSandboxStatus, toSandboxConfig } from '../../src/cri/convert-sandbox.js';
import {
  ContainerConfig,
  type DeepPartial,
  type LinuxContainerSecurityContext,
  type LinuxPodSandboxConfig,
  MountPropagation,
  NamespaceMode,
  PodSandboxConfig,
  PodSandboxStatus,
  SecurityProfile_ProfileType as ProfileType,
  Protocol,
  Signal,
  SupplementalGroupsPolicy,
} from '../../src/cri/generated/api.js';
import { RuntimeError } from '../../src/errors.js';
import type { SandboxRecord } from '../../src/sandbox/sandbox-record.js';

const METADATA = { name: 'web', uid: 'u', namespace: 'default', attempt: 2 };

function sandboxConfig(changes: DeepPartial<PodSandboxConfig> = {}, handler = '') {
  return toSandboxConfig(PodSandboxConfig.fromPartial({ metadata: METADATA, ...changes }), handler);
}

function ofLinux(linux: DeepPartial<LinuxPodSandboxConfig>) {
  return sandboxConfig({ linux });
}

function record(changes: Partial<SandboxRecord['config']> = {}): SandboxRecord {
  return {
    id: '0123456789abcdef',
    config: { ...sandboxConfig(), ...changes },
    state: 'ready',
    owner: { pid: 1, startTicks: 1 },
    bootId: '',
    cgroup: '',
    supervisorCgroup: '',
    createdAtNanos: '7',
  };
}

function containerConfig(changes: DeepPartial<ContainerConfig> = {}, sandbox = record()) {
  const base = { metadata: { name: 'app', attempt: 1 }, image: { image: 'sha256:1' } };
  return toContainerConfig(ContainerConfig.fromPartial({ ...base, ...changes }), sandbox);
}

function security(context: DeepPartial<LinuxContainerSecurityContext>, sandbox = record()) {
  return containerConfig({ linux: { securityContext: context } }, sandbox).security;
}

describe('toSandboxConfig()', () => {
  test('says what an empty message means', () => {
    expect(sandboxConfig({ hostname: 'web-0' })).toEqual({
      ...METADATA,
      hostname: 'web-0',
      labels: {},
      annotations: {},
      hostNetwork: false,
      hostPid: false,
      hostIpc: false,
      shareProcessNamespace: true,
      privileged: false,
      onOwnerExit: 'keep',
    });
  });

  test('needs metadata with a name', () => {
    expect(() => sandboxConfig({ metadata: { ...METADATA, name: '' } })).toThrow('metadata');
    expect(() => toSandboxConfig(undefined, '')).toThrow('metadata');
  });

  test('takes a cgroup parent as the cgroupfs driver writes it', () => {
    expect(ofLinux({ cgroupParent: '/kubepods/burstable/pod1-2' }).cgroupParent).toBe(
      'kubepods/burstable/pod1-2',
    );
    expect(ofLinux({ cgroupParent: '' }).cgroupParent).toBeUndefined();
    expect(ofLinux({ cgroupParent: '/' }).cgroupParent).toBeUndefined();
  });

  test('drops ports without a port of the node, and all with its network', () => {
    const portMappings = [
      { protocol: Protocol.UDP, containerPort: 53, hostPort: 5353, hostIp: '127.0.0.1' },
      { protocol: Protocol.TCP, containerPort: 80, hostPort: 0 },
    ];
    expect(sandboxConfig({ portMappings }).portMappings).toEqual([
      { protocol: 'udp', containerPort: 53, hostPort: 5353, hostIp: '127.0.0.1' },
    ]);
    const linux = { securityContext: { namespaceOptions: { network: NamespaceMode.NODE } } };
    expect(sandboxConfig({ portMappings, linux })).not.toHaveProperty('portMappings');
    expect(() =>
      sandboxConfig({ portMappings: [{ containerPort: 80, hostPort: 70_000 }] }),
    ).toThrow('expected ports from 1 to 65535');
  });

  test('takes user namespaces of exactly one mapping from id 0', () => {
    const namespace = (usernsOptions: object) =>
      ofLinux({ securityContext: { namespaceOptions: { usernsOptions } } }).userNamespace;
    const mapping = { hostId: 100_000, containerId: 0, length: 65_536 };
    expect(namespace({ mode: NamespaceMode.NODE })).toBeUndefined();
    expect(namespace({ uids: [mapping], gids: [mapping] })).toEqual({
      uids: mapping,
      gids: mapping,
    });
    expect(() => namespace({ uids: [mapping, mapping], gids: [mapping] })).toThrow('exactly one');
    expect(() => namespace({ uids: [{ ...mapping, containerId: 1 }], gids: [mapping] })).toThrow(
      'begin at id 0',
    );
    expect(() => namespace({ uids: [mapping], gids: [{ ...mapping, length: 5 }] })).toThrow(
      'alike',
    );
    for (const mode of [NamespaceMode.CONTAINER, NamespaceMode.TARGET]) {
      expect(() => namespace({ mode })).toThrow('POD or NODE');
    }
  });

  test('throws nothing but errors with a code, whatever comes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        let message: PodSandboxConfig;
        try {
          message = PodSandboxConfig.decode(bytes);
        } catch {
          return;
        }
        try {
          toSandboxConfig(message, '');
        } catch (error) {
          expect(error).toBeInstanceOf(RuntimeError);
        }
      }),
    );
  });
});

test('fromSandboxStatus() answers in which namespaces the sandbox is', () => {
  const sandbox = { ...record({ hostNetwork: true, shareProcessNamespace: false }), ip: '' };
  const status = PodSandboxStatus.fromPartial(fromSandboxStatus(sandbox));
  expect(status.linux?.namespaces?.options).toMatchObject({
    network: NamespaceMode.NODE,
    pid: NamespaceMode.CONTAINER,
    ipc: NamespaceMode.POD,
  });
  expect(status).toMatchObject({ createdAt: 7n, metadata: METADATA });
});

describe('toContainerConfig()', () => {
  test('takes names, command, environment and streams', () => {
    const config = containerConfig({
      image: { image: 'sha256:1', userSpecifiedImage: 'busybox' },
      command: ['a'],
      args: ['b'],
      envs: [{ key: 'K', value: Buffer.from('v=ü') }],
      CDIDevices: [{ name: 'x.com/y=z' }],
      devices: [{ hostPath: '/dev/fuse' }],
      stopSignal: Signal.SIGNAL_SIGRTMINPLUS3,
      tty: true,
    });
    expect(config).toMatchObject({
      name: 'app',
      attempt: 1,
      image: 'sha256:1',
      userSpecifiedImage: 'busybox',
      command: ['a'],
      args: ['b'],
      env: [['K', 'v=ü']],
      cdiDevices: ['x.com/y=z'],
      devices: [{ hostPath: '/dev/fuse', containerPath: '/dev/fuse', permissions: 'rwm' }],
      stopSignal: 'SIGRTMIN+3',
      terminal: true,
    });
    expect(config).not.toHaveProperty('logPath');
  });

  test('takes mounts of the host and of images', () => {
    const { mounts } = containerConfig({
      mounts: [
        {
          containerPath: '/a',
          hostPath: '/b',
          readonly: true,
          recursiveReadOnly: true,
          uidMappings: [{ hostId: 1, containerId: 0, length: 5 }],
          mountOptions: ['noexec'],
          selinuxRelabel: true,
        },
        { containerPath: '/i', readonly: true, image: { image: 'name' }, imageSubPath: 'etc' },
        {
          containerPath: '/p',
          hostPath: '/q',
          propagation: MountPropagation.PROPAGATION_BIDIRECTIONAL,
        },
      ],
    });
    expect(mounts).toEqual([
      {
        type: 'bind',
        containerPath: '/a',
        hostPath: '/b',
        readOnly: true,
        recursiveReadOnly: true,
        propagation: 'private',
        idMappings: { uids: [{ hostId: 1, containerId: 0, length: 5 }], gids: [] },
        options: ['noexec'],
      },
      { type: 'image', containerPath: '/i', image: 'name', subPath: 'etc' },
      {
        type: 'bind',
        containerPath: '/p',
        hostPath: '/q',
        readOnly: false,
        propagation: 'bidirectional',
      },
    ]);
  });

  test.each([
    [{ recursiveReadOnly: true }, 'needs readonly'],
    [
      {
        recursiveReadOnly: true,
        readonly: true,
        propagation: MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
      },
      'private propagation',
    ],
    [
      {
        recursiveReadOnly: true,
        readonly: true,
        propagation: MountPropagation.PROPAGATION_BIDIRECTIONAL,
      },
      'private propagation',
    ],
    [{ image: { image: 'x' }, hostPath: '' }, 'must be read-only'],
    [{ image: { image: 'x' }, readonly: true }, 'path of the host too'],
    [{ image: {}, readonly: true, hostPath: '' }, 'names no image'],
  ])('refuses the mount %o', (mount, text) => {
    const mounts = [{ containerPath: '/a', hostPath: '/b', ...mount }];
    expect(() => containerConfig({ mounts })).toThrow(text);
  });

  test('finds whose processes it sees', () => {
    const of = (pid: NamespaceMode, sandbox = record(), targetId = '') =>
      containerConfig(
        { linux: { securityContext: { namespaceOptions: { pid, targetId } } } },
        sandbox,
      );
    const own = record({ shareProcessNamespace: false });
    expect(of(NamespaceMode.CONTAINER)).toMatchObject({ ownProcessNamespace: true });
    expect(of(NamespaceMode.CONTAINER, own)).not.toHaveProperty('ownProcessNamespace');
    expect(of(NamespaceMode.POD)).not.toHaveProperty('ownProcessNamespace');
    expect(of(NamespaceMode.TARGET, own, 'abc')).toMatchObject({ processNamespaceOf: 'abc' });
    expect(() => of(NamespaceMode.TARGET)).toThrow('target_id');
    expect(() => of(NamespaceMode.NODE)).toThrow('has not');
    expect(of(NamespaceMode.NODE, record({ hostPid: true }))).toMatchObject({ name: 'app' });
  });

  test('throws nothing but errors with a code, whatever comes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        let message: ContainerConfig;
        try {
          message = ContainerConfig.decode(bytes);
        } catch {
          return;
        }
        try {
          toContainerConfig(message, record());
        } catch (error) {
          expect(error).toBeInstanceOf(RuntimeError);
        }
      }),
    );
  });
});

describe('security', () => {
  test('knows no profile from an empty one', () => {
    expect(security({}).seccomp).toBe('unconfined');
    expect(security({}).appArmor).toBeUndefined();
    expect(security({ seccomp: {}, apparmor: {} })).toMatchObject({
      seccomp: 'default',
      appArmor: 'default',
    });
    expect(containerConfig().security.seccomp).toBe('unconfined');
  });

  test.each([
    [{ seccomp: { profileType: ProfileType.Unconfined } }, 'unconfined'],
    [
      { seccomp: { profileType: ProfileType.Localhost, localhostRef: '/p.json' } },
      { path: '/p.json' },
    ],
    [
      { seccomp: { profileType: ProfileType.Localhost, localhostRef: 'localhost//p.json' } },
      { path: '/p.json' },
    ],
    [{ seccompProfilePath: 'runtime/default' }, 'default'],
    [{ seccompProfilePath: 'localhost//p.json' }, { path: '/p.json' }],
    [{ seccompProfilePath: 'unconfined', seccomp: {} }, 'default'],
  ])('takes seccomp of %o', (context, expected) => {
    expect(security(context).seccomp).toEqual(expected);
  });

  test.each([
    [{ seccomp: { profileType: ProfileType.Localhost, localhostRef: 'relative' } }, 'absolute'],
    [{ seccomp: { profileType: ProfileType.Localhost } }, 'no name'],
    [{ apparmorProfile: 'whatever' }, 'expected "runtime/default"'],
    [{ runAsGroup: { value: 1n } }, 'without run_as_user'],
    [{ runAsUser: { value: 2n ** 60n } }, 'out of range'],
    [{ capabilities: { addAmbientCapabilities: ['CHOWN'] } }, 'Ambient'],
    [{ privileged: true }, 'privileged sandbox'],
  ])('refuses %o', (context, text) => {
    expect(() => security(context)).toThrow(text);
  });

  test('takes users, groups, capabilities and paths as they are', () => {
    const context = {
      runAsUsername: 'app',
      runAsGroup: { value: 7n },
      supplementalGroups: [1n, 2n],
      supplementalGroupsPolicy: SupplementalGroupsPolicy.Strict,
      privileged: true,
      noNewPrivs: true,
      readonlyRootfs: true,
      capabilities: { addCapabilities: ['A'], dropCapabilities: ['ALL'] },
      apparmor: { profileType: ProfileType.Localhost, localhostRef: 'localhost/own' },
      maskedPaths: [],
      readonlyPaths: ['/x'],
    };
    expect(security(context, record({ privileged: true }))).toEqual({
      runAsUserName: 'app',
      runAsGroup: 7,
      supplementalGroups: [1, 2],
      supplementalGroupsPolicy: 'Strict',
      privileged: true,
      noNewPrivileges: true,
      readOnlyRootFilesystem: true,
      addCapabilities: ['A'],
      dropCapabilities: ['ALL'],
      seccomp: 'unconfined',
      appArmor: { profile: 'own' },
      maskedPaths: [],
      readonlyPaths: ['/x'],
    });
  });
});
