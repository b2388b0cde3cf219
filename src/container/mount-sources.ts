import { rmdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeDirectories } from '../directories.js';
import { InvalidArgumentError } from '../errors.js';
import type { Rollback } from '../rollback.js';
import type { BindMount, ContainerMount } from '../runtime/container-config.js';
import { checkPropagation } from '../runtime/mount-propagation.js';

/**
 * Looks at what a container will bind from the host, so that a mistake shows when it is created; the mounts themselves resolve the paths again.
 * A directory is made where nothing is, as containerd does; `rollback` removes it.
 * @throws InvalidArgumentError naming the mount; FailedPreconditionError when its propagation cannot work.
 */
export async function prepareMountSources(
  mounts: readonly ContainerMount[],
  rollback: Rollback,
): Promise<void> {
  for (const mount of mounts) {
    if (mount.type !== 'bind') continue;
    await ensureSource(mount, rollback);
    await checkPropagation(mount);
  }
}

async function ensureSource(mount: BindMount, rollback: Rollback): Promise<void> {
  const { hostPath } = mount;
  try {
    if (await exists(hostPath)) return;
    const first = await makeDirectories(hostPath, 0o755);
    if (first !== undefined) {
      rollback.add(`directory "${hostPath}"`, () => removeEmpty(hostPath, first));
    }
  } catch (cause) {
    throw new InvalidArgumentError(
      `mount "${mount.containerPath}": cannot use "${hostPath}" of the host`,
      { cause },
    );
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** Removes the directories from `path` up to `first`, as long as nobody has put anything in. */
async function removeEmpty(path: string, first: string): Promise<void> {
  for (let directory = path; directory.length >= first.length; directory = dirname(directory)) {
    try {
      await rmdir(directory);
    } catch {
      // Somebody uses it by now; it is his.
      return;
    }
  }
}
