import { InvalidArgumentError } from '../errors.js';
import type { ImageRecord } from '../image/image-store.js';
import type { DeepPartial, Image, ImageSpec } from './generated/api.js';

/** The message of an image. */
export function fromImage(image: ImageRecord): DeepPartial<Image> {
  // USER is "user", "user:group", "uid" or "uid:gid"; the group does not appear here.
  const user = image.config.user.split(':', 1)[0] ?? '';
  const isUid = /^[0-9]+$/.test(user);
  return {
    id: image.id,
    repoTags: [...image.names],
    repoDigests: [...image.repoDigests],
    size: BigInt(image.sizeBytes),
    ...(isUid ? { uid: { value: BigInt(user) } } : {}),
    username: isUid ? '' : user,
    pinned: image.pinned,
  };
}

/** How a client names an image. @throws InvalidArgumentError when it does not. */
export function imageName(spec: ImageSpec | undefined): string {
  const name = spec?.image ?? '';
  if (name === '') throw new InvalidArgumentError('The image is not named');
  return name;
}
