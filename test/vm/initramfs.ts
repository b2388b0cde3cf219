import { execFile } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import type { GuestKernel } from './kernel.js';

const run = promisify(execFile);

/** What is needed to see the disks; the file system's driver is part of the kernel. */
const DISK_MODULES = ['virtio_pci', 'virtio_blk'];

/**
 * Writes the small root file system that the kernel starts from: busybox, the drivers of the disks, and a script that
 * mounts the first disk and hands over to its `/init`.
 */
export async function writeInitramfs(path: string, kernel: GuestKernel): Promise<void> {
  const root = `${path}.root`;
  for (const name of ['bin', 'dev', 'proc', 'modules', 'disk']) {
    mkdirSync(join(root, name), { recursive: true });
  }
  copyFileSync('/bin/busybox', join(root, 'bin/busybox'));
  chmodSync(join(root, 'bin/busybox'), 0o755);
  const modules = moduleFiles(kernel, DISK_MODULES);
  for (const module of modules) {
    copyFileSync(join(kernel.modulesDirectory, module), join(root, 'modules', basename(module)));
  }
  writeFileSync(join(root, 'init'), initScript(modules.map((module) => basename(module))), {
    mode: 0o755,
  });
  await run('sh', ['-c', 'find . | cpio --quiet -o -H newc -R 0:0 >"$1"', 'sh', path], {
    cwd: root,
  });
}

function initScript(modules: readonly string[]): string {
  return `#!/bin/busybox sh
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox mount -t proc none /proc
${modules.map((module) => `/bin/busybox insmod /modules/${module}`).join('\n')}
/bin/busybox mount -t ext4 -o noatime /dev/vda /disk || exec /bin/busybox poweroff -f
/bin/busybox umount /proc /dev
exec /bin/busybox switch_root /disk /init
`;
}

/** Files of the modules and of what they need, in the order of loading. */
function moduleFiles(kernel: GuestKernel, names: readonly string[]): string[] {
  const dependencies = new Map(
    readFileSync(join(kernel.modulesDirectory, 'modules.dep'), 'utf8')
      .split('\n')
      .map((line) => line.split(/:\s*/))
      .map(([file = '', needed = '']) => [file, needed.split(' ').filter(Boolean)] as const),
  );
  const files: string[] = [];
  for (const name of names) {
    const file = [...dependencies.keys()].find(
      (key) =>
        basename(key)
          .replace(/\.ko.*$/, '')
          .replaceAll('-', '_') === name,
    );
    if (file === undefined) throw new Error(`Kernel ${kernel.release} has no module "${name}"`);
    // modules.dep lists the nearest dependency first, and all of them.
    for (const module of [...[...(dependencies.get(file) ?? [])].reverse(), file]) {
      if (!files.includes(module)) files.push(module);
    }
  }
  return files;
}
