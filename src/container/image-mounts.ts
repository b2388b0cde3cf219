import { InvalidArgumentError, NotFoundError } from '../errors.js';
import type { ContainerMount } from '../runtime/container-config.js';
import type { SandboxRecord } from '../sandbox/sandbox-record.js';
import { closeQuietly } from '../snapshot/layer-files.js';
import type { ContainerParts } from './container-parts.js';
import { withRootsOf } from './mapped-roots.js';
import type { ContainerRecord, MountedImage } from './state.js';

/** More than anybody mounts; each is a descriptor in the start frame. */
const MAX_IMAGE_MOUNTS = 64;

/**
 * The images that a container mounts, in the order of its image mounts. In the record they count as used, so that they stay.
 * @throws NotFoundError naming an image that is not stored here; InvalidArgumentError for a sub path that is no path inside an image.
 */
export function resolveImageMounts(
  parts: Pick<ContainerParts, 'images'>,
  mounts: readonly ContainerMount[],
): MountedImage[] {
  const resolved = mounts.flatMap((mount): MountedImage[] => {
    if (mount.type !== 'image') return [];
    const image = parts.images.resolve(mount.image);
    if (image === undefined) {
      throw new NotFoundError(
        `mount "${mount.containerPath}": image "${mount.image}" is not stored here`,
      );
    }
    const { subPath = '' } = mount;
    return [
      {
        imageId: image.id,
        chain: image.layers.map(({ diffId }) => diffId),
        containerPath: mount.containerPath,
        ...(subPath === '' ? {} : { subPath: checkedSubPath(subPath, mount.containerPath) }),
      },
    ];
  });
  if (resolved.length > MAX_IMAGE_MOUNTS) {
    throw new InvalidArgumentError(
      `the container mounts ${resolved.length} images: at most ${MAX_IMAGE_MOUNTS} are supported`,
    );
  }
  return resolved;
}

/**
 * Looks into each image for its sub path, so that a missing one shows when the container is created; the mount itself resolves it again.
 * @throws NotFoundError naming the sub path; InvalidArgumentError when it is neither a directory nor a file.
 */
export async function checkSubPaths(
  parts: Pick<ContainerParts, 'native' | 'snapshotter'>,
  record: ContainerRecord,
): Promise<void> {
  for (const mounted of record.mountedImages ?? []) {
    const { subPath, containerPath, imageId, chain } = mounted;
    if (subPath === undefined) continue;
    const fd = await parts.snapshotter.prepare(record.id, chain, { readOnly: true });
    try {
      const kind = await parts.native.kindInRoot(fd, subPath);
      if (kind === null) {
        throw new NotFoundError(
          `mount "${containerPath}": the image "${imageId}" has no "${subPath}"`,
        );
      }
      if (kind === 'other') {
        throw new InvalidArgumentError(
          `mount "${containerPath}": "${subPath}" of the image "${imageId}" is neither a directory nor a file`,
        );
      }
    } finally {
      await closeQuietly(fd);
    }
  }
}

/** Mounts what a container mounts of images, read-only, for the length of `use`; it gets the descriptors in the order of the mounts. */
export async function withImageMounts<T>(
  parts: Pick<ContainerParts, 'sandboxes' | 'snapshotter'>,
  { record, sandbox }: { readonly record: ContainerRecord; readonly sandbox: SandboxRecord },
  use: (fds: readonly number[]) => Promise<T>,
): Promise<T> {
  const { mountedImages = [] } = record;
  if (mountedImages.length === 0) return use([]);
  const fds: number[] = [];
  try {
    await withRootsOf(parts, sandbox, async (prepare) => {
      for (const { chain } of mountedImages) {
        fds.push(await prepare(record.id, chain, { readOnly: true }));
      }
    });
    return await use(fds);
  } finally {
    await Promise.all(fds.map(closeQuietly));
  }
}

/** Links of an image are followed inside it; a path that would climb out is a mistake all the same. */
function checkedSubPath(subPath: string, containerPath: string): string {
  const isPlain =
    !subPath.startsWith('/') &&
    !subPath.includes('\0') &&
    Buffer.byteLength(subPath) < 4096 &&
    !subPath.split('/').includes('..');
  if (isPlain) return subPath;
  throw new InvalidArgumentError(
    `mount "${containerPath}": expected a relative path without ".." inside the image, received ${JSON.stringify(subPath.slice(0, 100))}`,
  );
}
