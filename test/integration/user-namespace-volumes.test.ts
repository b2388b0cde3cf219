import { execFileSync } from 'node:child_process';
import { chownSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { execCommand } from '../../src/container/exec.js';
import type { ContainerConfig } from '../../src/runtime/container-config.js';
import type { SandboxConfig } from '../../src/runtime/sandbox-config.js';
import { ContainerRig, DATA_IMAGE_ID, type RigEngine } from '../fixtures/container-rig.js';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('skipped: containers need root');

const FIRST = 300_000;
const RANGE = { hostId: FIRST, containerId: 0, length: 65_536 };
const USER_NAMESPACE = { uids: RANGE, gids: RANGE };

describe.skipIf(!isRoot)('volumes in a pod with a user namespace of its own', () => {
  let rig: ContainerRig;
  let engine: RigEngine;
  let volume: string;

  beforeEach(async () => {
    rig = await ContainerRig.open();
    engine = rig.engine();
    volume = join(rig.directory, 'volume');
    mkdirSync(volume);
    writeFileSync(join(volume, 'root'), '', { mode: 0o600 });
    writeFileSync(join(volume, 'user'), '');
    chownSync(join(volume, 'user'), 1000, 1001);
  });
  afterEach(() => rig.close());

  const sandbox = async (changes: Partial<SandboxConfig> = {}) => {
    const config = rig.sandboxConfig({ userNamespace: USER_NAMESPACE, ...changes });
    return (await engine.sandboxes.run(config)).id;
  };
  const startIn = async (sandboxId: string, changes: Partial<ContainerConfig> = {}) => {
    const { id } = await engine.containers.create(
      sandboxId,
      rig.containerConfig({ command: ['/bin/sleep', '1000'], ...changes }),
    );
    await engine.containers.start(id);
    return id;
  };
  const start = async (changes: Partial<ContainerConfig> = {}, pod: Partial<SandboxConfig> = {}) =>
    startIn(await sandbox(pod), changes);
  const run = async (id: string, script: string) => {
    const { stdout, stderr } = await execCommand(engine.parts, id, {
      command: ['/bin/sh', '-c', script],
    });
    return `${stdout}${stderr}`.trim();
  };

  it('shows a volume with mapped ids as its files are, another as nobody’s', async () => {
    const mount = (containerPath: string, changes = {}) => ({
      type: 'bind' as const,
      hostPath: volume,
      containerPath,
      readOnly: false,
      ...changes,
    });
    const shifted = [{ hostId: FIRST + 500, containerId: 0, length: 2000 }];
    const id = await start({
      mounts: [
        mount('/mapped', { idMappings: { uids: [RANGE], gids: [RANGE] } }),
        mount('/other', { idMappings: { uids: shifted, gids: shifted } }),
        mount('/plain'),
      ],
    });
    expect(await run(id, 'cd /mapped; stat -c %u:%g root user; touch made && chown 5:6 made')).toBe(
      '0:0\n1000:1001',
    );
    const { uid, gid } = statSync(join(volume, 'made'));
    expect([uid, gid]).toEqual([5, 6]);
    expect(await run(id, 'cd /other; stat -c %u:%g root user')).toBe('500:500\n1500:1501');
    expect(await run(id, 'cd /plain; stat -c %u:%g root')).toBe('65534:65534');
    expect(await run(id, 'cat /plain/root')).toContain('Permission denied');
  });

  it('maps also what is mounted below a volume', async () => {
    const nested = join(volume, 'nested');
    mkdirSync(nested);
    execFileSync('mount', ['-t', 'tmpfs', 'cais-test', nested]);
    try {
      const id = await start({
        mounts: [
          {
            type: 'bind',
            hostPath: volume,
            containerPath: '/v',
            readOnly: false,
            idMappings: { uids: [RANGE], gids: [RANGE] },
          },
        ],
      });
      expect(await run(id, 'stat -c %u /v /v/nested; touch /v/nested/x && echo made')).toBe(
        '0\n0\nmade',
      );
    } finally {
      execFileSync('umount', [nested]);
    }
  });

  it('shows mounted images with its ids', async () => {
    writeFileSync(join(rig.dataLayer, 'file'), 'data', { mode: 0o600 });
    const id = await start({
      mounts: [{ type: 'image', image: DATA_IMAGE_ID, containerPath: '/image' }],
    });
    expect(await run(id, 'stat -c %u:%g /image/file; cat /image/file; touch /image/x')).toMatch(
      /^0:0\ndata.*Read-only file system/s,
    );
  });

  it('refuses to send mounts to the host', async () => {
    const mounts = [
      {
        type: 'bind' as const,
        hostPath: volume,
        containerPath: '/v',
        readOnly: false,
        propagation: 'bidirectional' as const,
      },
    ];
    const sandboxId = await sandbox();
    execFileSync('mount', ['--bind', volume, volume]);
    try {
      execFileSync('mount', ['--make-shared', volume]);
      await expect(
        engine.containers.create(sandboxId, rig.containerConfig({ mounts })),
      ).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        message: expect.stringContaining('bidirectional propagation is not possible'),
      });
      const fromHost = mounts.map((each) => ({ ...each, propagation: 'hostToContainer' as const }));
      const id = await startIn(sandboxId, { mounts: fromHost });
      mkdirSync(join(volume, 'later'));
      execFileSync('mount', ['-t', 'tmpfs', 'cais-test', join(volume, 'later')]);
      expect(await run(id, 'grep -c " /v/later " /proc/mounts')).toBe('1');
    } finally {
      execFileSync('umount', ['-R', volume]);
    }
  });
});
