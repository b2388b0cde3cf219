import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cached } from '../fixtures/machine-cache.js';

const run = promisify(execFile);

/** Debian's kernel for virtual machines: the same sources as linux-image-amd64, fewer drivers. */
const META_PACKAGE = 'linux-image-cloud-amd64';

/** A kernel package, unpacked and not installed. */
export interface GuestKernel {
  readonly release: string;
  readonly imagePath: string;
  /** The directory that has `kernel/` and `modules.dep`. */
  readonly modulesDirectory: string;
}

/** Debian's own kernel, fetched by apt-get into the cache. */
export async function fetchKernel(): Promise<GuestKernel> {
  const { stdout } = await run('apt-cache', ['depends', '--important', META_PACKAGE]);
  const packageName = /Depends: (linux-image-\S+)/.exec(stdout)?.[1];
  if (packageName === undefined) {
    throw new Error(`apt-cache knows no dependency of ${META_PACKAGE}; run "apt-get update"`);
  }
  const release = packageName.replace('linux-image-', '');
  const directory = await cached({ name: 'kernel', facts: [packageName] }, async (path) => {
    const download = mkdtempSync(join(tmpdir(), 'cais-kernel-'));
    try {
      await run('apt-get', ['-q', 'download', packageName], { cwd: download });
      const [file = ''] = readdirSync(download);
      await run('dpkg-deb', ['-x', join(download, file), join(download, 'tree')]);
      // The list of dependencies is made when a kernel is installed.
      await run('depmod', ['-b', join(download, 'tree'), release]);
      await run('mv', [join(download, 'tree'), path]);
    } finally {
      rmSync(download, { recursive: true, force: true });
    }
  });
  return {
    release,
    imagePath: join(directory, `boot/vmlinuz-${release}`),
    modulesDirectory: join(directory, `lib/modules/${release}`),
  };
}
