import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { execCommand } from '../../src/container/exec.js';
import type { ContainerConfig } from '../../src/runtime/container-config.js';
import { ContainerRig, type RigEngine } from '../fixtures/container-rig.js';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('skipped: containers need root');

describe.skipIf(!isRoot)('devices of a container', () => {
  let rig: ContainerRig;
  let engine: RigEngine;
  let nodes: string;

  beforeEach(async () => {
    rig = await ContainerRig.open();
    engine = rig.engine();
    nodes = join(rig.directory, 'nodes');
    mkdirSync(join(nodes, 'sub'), { recursive: true });
    // One that no default rule allows: 10:237 is the control of loop devices.
    execFileSync('mknod', ['-m', '640', join(nodes, 'log'), 'c', '10', '237']);
    execFileSync('mknod', ['-m', '600', join(nodes, 'sub/zero'), 'c', '1', '5']);
    symlinkSync('log', join(nodes, 'link'));
    writeFileSync(join(nodes, 'plain'), '');
  });
  afterEach(() => rig.close());

  const create = async (container: Partial<ContainerConfig>, sandbox = {}) => {
    const { id } = await engine.sandboxes.run(rig.sandboxConfig(sandbox));
    return engine.containers.create(
      id,
      rig.containerConfig({ command: ['/bin/sleep', '1000'], ...container }),
    );
  };
  const start = async (container: Partial<ContainerConfig>) => {
    const { id } = await create(container);
    await engine.containers.start(id);
    return id;
  };
  const run = async (id: string, script: string) => {
    const { stdout, stderr } = await execCommand(engine.parts, id, {
      command: ['/bin/sh', '-c', script],
    });
    return `${stdout}${stderr}`.trim();
  };
  const device = (hostPath: string, containerPath: string, permissions = 'rwm') => ({
    devices: [{ hostPath, containerPath, permissions }],
  });

  it('are nodes of its own, with the owner and mode of the host, and may be opened as allowed', async () => {
    const id = await start(device(join(nodes, 'log'), '/dev/log', 'r'));
    expect(await run(id, 'stat -c "%a %t:%T %u" /dev/log; : < /dev/log && echo read')).toBe(
      '640 a:ed 0\nread',
    );
    expect(await run(id, ': > /dev/log')).toContain('Operation not permitted');
  });

  it('may lie outside /dev, and behind links of the host', async () => {
    const id = await start(device(join(nodes, 'link'), '/opt/devices/log'));
    expect(await run(id, ': < /opt/devices/log && echo read')).toBe('read');
  });

  it('are taken from a directory with all below it', async () => {
    const id = await start(device(nodes, '/dev/nodes'));
    expect(await run(id, 'ls /dev/nodes /dev/nodes/sub')).toBe(
      '/dev/nodes:\nlog\nsub\n\n/dev/nodes/sub:\nzero',
    );
  });

  it('are allowed to be opened only when asked for', async () => {
    const id = await start({});
    const { security } = rig.containerConfig();
    expect(security.privileged).toBe(false);
    expect(await run(id, 'ls /dev | grep -c log')).toBe('0');
  });

  it.each([
    ['/nope', '/dev/x', 'rwm'],
    ['/etc/passwd', '/dev/x', 'rwm'],
    ['/dev/null', '/proc/x', 'rwm'],
    ['/dev/null', '/dev/../x', 'rwm'],
    ['/dev/null', 'dev/x', 'rwm'],
    ['/dev/null', '/dev/x', 'rwx'],
    ['/dev/null', '/dev/x', 'rr'],
  ])('are refused: %s at %s (%s)', async (host, path, permissions) => {
    await expect(create(device(host, path, permissions))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
  });

  it('are all those of the host when it is privileged, and all may be opened', async () => {
    const id = await start({
      security: { ...rig.containerConfig().security, privileged: true, noNewPrivileges: false },
    });
    expect(await run(id, ': < /dev/kmsg && echo opened')).toBe('opened');
    expect(await run(id, 'ls /dev/pts')).toBe('ptmx');
  });

  it("of a /dev of the host stay the host's", async () => {
    const before = execFileSync('stat', ['-c', '%g %a', '/dev/tty', '/dev/null']).toString();
    const id = await start({
      mounts: [{ type: 'bind', hostPath: '/dev', containerPath: '/dev', readOnly: false }],
      devices: [],
      security: { ...rig.containerConfig().security, privileged: true, noNewPrivileges: false },
    });
    expect(await run(id, ': < /dev/kmsg && echo opened')).toBe('opened');
    expect(execFileSync('stat', ['-c', '%g %a', '/dev/tty', '/dev/null']).toString()).toBe(before);
  });

  describe('by CDI', () => {
    const writeSpec = (name: string, content: string) => {
      mkdirSync(rig.cdiDirectory, { recursive: true });
      writeFileSync(join(rig.cdiDirectory, name), content);
    };

    it('bring nodes, mounts, variables and groups', async () => {
      writeFileSync(join(nodes, 'driver.so'), 'library');
      writeSpec(
        'vendor.yaml',
        `cdiVersion: 0.6.0
kind: vendor.example/card
annotations: { a: b }
containerEdits:
  env: [COMMON=1]
  mounts:
    - { hostPath: ${nodes}, containerPath: /usr/lib/vendor, options: [ro, nosuid, nodev, bind] }
devices:
  - name: "0"
    containerEdits:
      env: [CARD=zero, PATH=/bin]
      additionalGids: [4242]
      deviceNodes:
        - { path: /dev/card0, hostPath: ${join(nodes, 'log')}, permissions: r }
        - { path: /dev/made, type: c, major: 1, minor: 3, fileMode: 0o600, uid: 7, gid: 8 }
`,
      );
      const id = await start({
        cdiDevices: ['vendor.example/card=0'],
        env: [['CARD', 'own']],
      });
      expect(
        await run(
          id,
          'echo $CARD $COMMON; cat /usr/lib/vendor/driver.so; echo; stat -c "%a %t:%T %u:%g" /dev/card0 /dev/made; id -G; : < /dev/card0 && echo read',
        ),
      ).toBe('zero 1\nlibrary\n640 a:ed 0:0\n600 1:3 7:8\n0 10 4242\nread');
      expect(await run(id, 'touch /usr/lib/vendor/x')).toContain('Read-only file system');
      expect(await run(id, ': > /dev/card0')).toContain('Operation not permitted');
    });

    it('are refused by name when no file describes them, with the files that are wrong', async () => {
      writeSpec('broken.json', '{');
      await expect(create({ cdiDevices: ['vendor.example/card=9'] })).rejects.toMatchObject({
        code: 'NOT_FOUND',
        message: expect.stringMatching(
          /no file in .* describes the CDI device "vendor.example\/card=9"; unusable files: .*broken.json": the file is neither YAML nor JSON/,
        ),
      });
    });

    it('are refused by name when they ask for hooks', async () => {
      writeSpec(
        'hooks.json',
        JSON.stringify({
          cdiVersion: '1.0.0',
          kind: 'vendor.example/hooked',
          devices: [{ name: 'a', containerEdits: { env: ['A=b'] } }],
          containerEdits: { hooks: [{ hookName: 'createContainer', path: '/bin/hook' }] },
        }),
      );
      await expect(create({ cdiDevices: ['vendor.example/hooked=a'] })).rejects.toMatchObject({
        code: 'UNSUPPORTED',
        message: expect.stringContaining('CDI device "vendor.example/hooked=a" asks for hooks'),
      });
    });
  });
});
