import { NotFoundError } from '../errors.js';
import type { ImageRecord } from '../image/image-store.js';
import { fromImage, imageName } from './convert-image.js';
import { fromFilesystem } from './convert-usage.js';
import {
  type ImageFilter,
  ImageFsInfoResponse,
  type ImageServiceServer,
  type ImageStatusRequest,
  ImageStatusResponse,
  ListImagesResponse,
  type PullImageRequest,
  PullImageResponse,
  type RemoveImageRequest,
  RemoveImageResponse,
  StreamImagesResponse,
} from './generated/api.js';
import { pieces, type ServiceParts, verboseInfo } from './service-parts.js';

interface FilterRequest {
  readonly filter?: ImageFilter | undefined;
}

/** All calls of the ImageService. Images are the same for every runtime handler. */
export function imageService({ engine, rpc }: ServiceParts): ImageServiceServer {
  const { images } = engine;
  const list = ({ filter }: FilterRequest) => selected(images, filter).map(fromImage);

  return {
    listImages: rpc.unary(ListImagesResponse, (request: FilterRequest) => ({
      images: list(request),
    })),

    streamImages: rpc.stream(StreamImagesResponse, async function* (request: FilterRequest) {
      for (const piece of pieces(list(request))) yield { images: piece };
    }),

    imageStatus: rpc.unary(ImageStatusResponse, ({ image, verbose }: ImageStatusRequest) => {
      const found = images.find(imageName(image));
      if (found === undefined) return {};
      return {
        image: fromImage(found),
        ...verboseInfo(verbose, () => ({ imageSpec: { config: found.config }, ...found })),
      };
    }),

    pullImage: rpc.unary(
      PullImageResponse,
      async ({ image, auth }: PullImageRequest, { signal }) => {
        const { id } = await images.pull(imageName(image), {
          ...(auth === undefined ? {} : { auth }),
          signal,
        });
        return { imageRef: id };
      },
    ),

    // By its id all names of the image go, whichever the client has named. A container that uses it keeps its content.
    removeImage: rpc.unary(RemoveImageResponse, async ({ image }: RemoveImageRequest) => {
      const found = findAny(images, imageName(image));
      if (found === undefined) return {};
      try {
        await images.remove(found.id, { force: true });
      } catch (error) {
        // Somebody else was faster.
        if (!(error instanceof NotFoundError)) throw error;
      }
      return {};
    }),

    imageFsInfo: rpc.unary(ImageFsInfoResponse, async () => {
      const info = await images.fsInfo();
      return {
        imageFilesystems: [fromFilesystem(info.images)],
        containerFilesystems: [fromFilesystem(info.containers)],
      };
    }),
  };
}

type Images = ServiceParts['engine']['images'];

function selected(images: Images, filter: ImageFilter | undefined): ImageRecord[] {
  const name = filter?.image?.image ?? '';
  if (name === '') return images.list();
  const found = images.find(name);
  return found === undefined ? [] : [found];
}

/** Also an image of which a layer got lost: it must be possible to remove it. */
function findAny(images: Images, name: string): ImageRecord | undefined {
  const complete = images.find(name);
  return (
    complete ??
    images
      .list()
      .find(({ id, names, repoDigests }) => [id, ...names, ...repoDigests].includes(name))
  );
}
