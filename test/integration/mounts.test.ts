import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { execCommand } from '../../src/container/exec.js';
import type { BindMount, ContainerConfig } from '../../src/runtime/container-config.js';
import { ContainerRig, DATA_IMAGE_ID, type RigEngine } from '../fixtures/container-rig.js';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('skipped: containers need root');

const mount = (...args: string[]) => execFileSync('mount', args);

describe.skipIf(!isRoot)('mounts of a container', () => {
  let rig: ContainerRig;
  let engine: RigEngine;
  /** A mount point of the host whose propagation the test chooses. */
  let host: string;

  beforeEach(async () => {
    rig = await ContainerRig.open();
    engine = rig.engine();
    host = join(rig.directory, 'host');
    mkdirSync(host);
    mount('-t', 'tmpfs', 'cais-test', host);
    mount('--make-private', host);
  });
  afterEach(async () => {
    execFileSync('umount', ['-R', host]);
    await rig.close();
  });

  const bind = (changes: Partial<BindMount> = {}): BindMount => ({
    type: 'bind',
    hostPath: host,
    containerPath: '/data',
    readOnly: false,
    ...changes,
  });
  const create = async (container: Partial<ContainerConfig>) => {
    const { id } = await engine.sandboxes.run(rig.sandboxConfig());
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
  const privileged = () => ({
    security: { ...rig.containerConfig().security, privileged: true, noNewPrivileges: false },
  });
  const mountBelow = (name: string) => {
    mkdirSync(join(host, name));
    mount('-t', 'tmpfs', 'cais-test', join(host, name));
    writeFileSync(join(host, name, 'file'), '');
  };
  const mountInside = (id: string) =>
    run(id, 'mkdir /data/inner && mount -t tmpfs tmpfs /data/inner && touch /data/inner/file');

  it('with private propagation know nothing of later mounts of the other side', async () => {
    const id = await start({ mounts: [bind()], ...privileged() });
    mountBelow('later');
    expect(await run(id, 'ls /data/later')).toBe('');
    expect(await mountInside(id)).toBe('');
    expect(readdirSync(join(host, 'inner'))).toEqual([]);
  });

  it('with propagation from the host see its later mounts, and keep their own', async () => {
    mount('--make-shared', host);
    const id = await start({
      mounts: [bind({ propagation: 'hostToContainer' })],
      ...privileged(),
    });
    mountBelow('later');
    expect(await run(id, 'ls /data/later')).toBe('file');
    expect(await mountInside(id)).toBe('');
    expect(readdirSync(join(host, 'inner'))).toEqual([]);
  });

  it('with bidirectional propagation share mounts both ways', async () => {
    mount('--make-shared', host);
    const id = await start({ mounts: [bind({ propagation: 'bidirectional' })], ...privileged() });
    mountBelow('later');
    expect(await run(id, 'ls /data/later')).toBe('file');
    expect(await mountInside(id)).toBe('');
    expect(readdirSync(join(host, 'inner'))).toEqual(['file']);
  });

  it('are refused where propagation cannot work, by a message that says what to do', async () => {
    await expect(
      create({ mounts: [bind({ propagation: 'bidirectional' })] }),
    ).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      message: expect.stringContaining(
        `bidirectional propagation needs a shared mount, but "${host}" of the host lies on "${host}", which is private: run "mount --make-rshared ${host}"`,
      ),
    });
    await expect(
      create({ mounts: [bind({ propagation: 'hostToContainer' })] }),
    ).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' });
    mount('--make-shared', host);
    mount('--make-slave', host);
    await expect(
      create({ mounts: [bind({ propagation: 'bidirectional' })] }),
    ).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' });
  });

  it('read-only are so at the top, recursively read-only also below', async () => {
    mountBelow('nested');
    const id = await start({
      mounts: [
        bind({ readOnly: true }),
        bind({ readOnly: true, recursiveReadOnly: true, containerPath: '/all' }),
      ],
    });
    expect(await run(id, 'touch /data/x')).toContain('Read-only file system');
    expect(await run(id, 'touch /data/nested/x && echo written')).toBe('written');
    expect(await run(id, 'touch /all/x')).toContain('Read-only file system');
    expect(await run(id, 'touch /all/nested/x')).toContain('Read-only file system');
  });

  it.each<Partial<BindMount>>([
    { recursiveReadOnly: true },
    { recursiveReadOnly: true, readOnly: true, propagation: 'hostToContainer' },
    { recursiveReadOnly: true, readOnly: true, propagation: 'bidirectional' },
    { options: ['suid'] },
    { options: ['noatime', 'relatime'] },
    { options: ['size=1'] },
    { containerPath: '/proc/x' },
    { containerPath: '/a/../b' },
  ])('are refused: %j', async (changes) => {
    mount('--make-shared', host);
    await expect(create({ mounts: [bind(changes)] })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
  });

  it('have the options asked for', async () => {
    const program = join(host, 'program');
    writeFileSync(program, '#!/bin/sh\necho ran\n', { mode: 0o755 });
    const id = await start({
      mounts: [
        bind({ options: ['noexec', 'nosuid', 'nodev', 'noatime', 'nodiratime'] }),
        bind({ containerPath: '/strict', options: ['strictatime'] }),
      ],
    });
    expect(await run(id, '/data/program')).toContain('Permission denied');
    expect(await run(id, '/strict/program')).toBe('ran');
    const options = await run(id, "grep -E ' /(data|strict) ' /proc/mounts");
    expect(options).toMatch(/\/data tmpfs rw,nosuid,nodev,noexec,noatime,nodiratime/);
    expect(options).not.toMatch(/\/strict .*(noatime|relatime)/);
  });

  it('follow a symbolic link of the host, and make a directory where nothing is', async () => {
    const link = join(rig.directory, 'link');
    symlinkSync(host, link);
    writeFileSync(join(host, 'file'), '');
    const missing = join(rig.directory, 'missing/deep');
    const id = await start({
      mounts: [
        bind({ hostPath: link, containerPath: link }),
        bind({ hostPath: missing, containerPath: '/made' }),
      ],
    });
    expect(await run(id, `ls ${link}; touch /made/x`)).toBe('file');
    expect(readdirSync(missing)).toEqual(['x']);
  });

  it('take a directory that was made away again when the container is not', async () => {
    const missing = join(rig.directory, 'missing/deep');
    await expect(
      create({
        mounts: [
          bind({ hostPath: missing, containerPath: '/made' }),
          bind({ propagation: 'bidirectional' }),
        ],
      }),
    ).rejects.toThrow('propagation');
    expect(existsSync(join(rig.directory, 'missing'))).toBe(false);
  });

  it('can lie below a link of the image, which leads nowhere but inside the root', async () => {
    symlinkSync('/nowhere/else', join(rig.layer, 'link'));
    symlinkSync(rig.directory, join(rig.layer, 'escape'));
    writeFileSync(join(host, 'file'), '');
    const id = await start({
      mounts: [bind({ containerPath: '/link/sub' }), bind({ containerPath: '/escape/mounted' })],
    });
    expect(await run(id, `ls /nowhere/else/sub ${rig.directory}/mounted`)).toContain('file');
    expect(existsSync(join(rig.directory, 'mounted'))).toBe(false);
  });

  it('are made from the outside in, whatever their order', async () => {
    mkdirSync(join(host, 'sub'));
    const inner = join(rig.directory, 'inner');
    mkdirSync(inner);
    writeFileSync(join(inner, 'file'), '');
    const id = await start({
      mounts: [bind({ hostPath: inner, containerPath: '/data/sub' }), bind()],
    });
    expect(await run(id, 'ls /data/sub')).toBe('file');
  });

  describe('of an image', () => {
    const image = (changes: object = {}) => ({
      type: 'image' as const,
      image: DATA_IMAGE_ID,
      containerPath: '/image',
      ...changes,
    });

    beforeEach(() => {
      mkdirSync(join(rig.dataLayer, 'etc'));
      writeFileSync(join(rig.dataLayer, 'etc/passwd'), 'of the image\n');
      writeFileSync(join(rig.dataLayer, 'program'), '#!/bin/sh\necho ran\n', { mode: 0o755 });
      symlinkSync('/etc', join(rig.dataLayer, 'inside'));
      symlinkSync('../../../../etc', join(rig.dataLayer, 'climbing'));
      symlinkSync(rig.directory, join(rig.dataLayer, 'outside'));
    });

    it('show it read-only, with programs that run', async () => {
      const id = await start({
        mounts: [image(), image({ containerPath: '/still', options: ['noexec'] })],
      });
      expect(await run(id, 'cat /image/etc/passwd; /image/program')).toBe('of the image\nran');
      expect(await run(id, 'touch /image/x')).toContain('Read-only file system');
      expect(await run(id, '/still/program')).toContain('Permission denied');
      expect(engine.containers.get(id)?.mountedImages).toEqual([
        { imageId: DATA_IMAGE_ID, chain: [expect.any(String)], containerPath: '/image' },
        { imageId: DATA_IMAGE_ID, chain: [expect.any(String)], containerPath: '/still' },
      ]);
    });

    it.each(['etc', 'inside', 'climbing', './etc/'])('show sub path %s of it', async (subPath) => {
      const id = await start({ mounts: [image({ subPath })] });
      expect(await run(id, 'cat /image/passwd')).toBe('of the image');
      expect(await run(id, 'ls /image/..')).toContain('bin');
      expect(await run(id, 'touch /image/x')).toContain('Read-only file system');
    });

    it('show a single file of it', async () => {
      const id = await start({
        mounts: [image({ subPath: 'etc/passwd', containerPath: '/f/one' })],
      });
      expect(await run(id, 'cat /f/one')).toBe('of the image');
      expect(readFileSync(join(rig.dataLayer, 'etc/passwd'), 'utf8')).toBe('of the image\n');
    });

    it.each([
      ['missing', 'NOT_FOUND'],
      ['outside', 'NOT_FOUND'],
      ['etc/passwd/x', 'NOT_FOUND'],
      ['../etc', 'INVALID_ARGUMENT'],
      ['/etc', 'INVALID_ARGUMENT'],
    ])('are refused with sub path %s', async (subPath, code) => {
      await expect(create({ mounts: [image({ subPath })] })).rejects.toMatchObject({ code });
    });

    it('are refused by name when it is not stored here', async () => {
      await expect(
        create({ mounts: [image({ image: 'nowhere/nothing:1' })] }),
      ).rejects.toMatchObject({
        code: 'NOT_FOUND',
        message: expect.stringContaining('image "nowhere/nothing:1" is not stored here'),
      });
    });
  });
});
