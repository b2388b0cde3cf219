import type { Credential } from '../auth/credential.js';
import { type Digest, isDigest } from '../digest.js';
import { RuntimeError } from '../errors.js';
import {
  canonicalName,
  effectiveTag,
  familiarName,
  type Reference,
  repositoryName,
} from '../reference.js';
import { type BlobSink, CountingSink } from '../registry/blob-sink.js';
import type { BlobRequest } from '../registry/client.js';
import type { HostsDirectory } from '../registry/hosts-directory.js';
import { MirroredClient } from '../registry/mirrored-client.js';
import { RegistryError } from '../registry/registry-error.js';
import type { Transport } from '../registry/transport.js';
import type { BlobStore } from './blob-store.js';
import { EarlyLayers } from './early-layers.js';
import type { ImageDescription, ImageLayer, ImageRecord, ImageStore } from './image-store.js';
import { type Descriptor, type ImageManifest, MAX_MANIFEST_BYTES } from './manifest.js';
import { isForeignLayerType } from './media-type.js';
import type { Platform } from './platform.js';
import type { ProgressListener } from './pull-progress.js';
import type { PullTurns } from './pull-turns.js';
import { type Document, type DocumentSource, type SelectedImage, selectImage } from './select.js';
import { type LayerCache, type LayerSource, unpackLayers } from './unpack.js';

/** A pull failed; `code` is that of the cause (a RegistryError, ManifestError, LayerError or NativeError). */
export class PullError extends RuntimeError {
  constructor(image: string, cause: unknown) {
    const code = cause instanceof RuntimeError ? cause.code : 'PULL_FAILED';
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(code, `Cannot pull "${image}": ${reason}`, { cause });
  }
}

export interface PullParts {
  readonly transport: Transport;
  readonly hosts: HostsDirectory;
  readonly blobs: BlobStore;
  readonly store: ImageStore;
  readonly layers: LayerCache;
  /** Shared by the pulls of one process. */
  readonly turns: PullTurns;
}

export interface PullRequest {
  readonly reference: Reference;
  readonly platform: Platform;
  /** Credentials for a registry or a mirror, by its name; tried one after the other; empty: anonymous. */
  readonly credentialsFor: (registry: string) => Promise<readonly Credential[]>;
  readonly signal: AbortSignal;
  readonly onProgress: ProgressListener;
  /** Told after each layer how many compressed bytes of it came from elsewhere. */
  readonly onFetched?: (bytes: number) => void;
}

/**
 * Pulls one image: manifest, platform, config, layers, record. The record comes last, so a name exists only for a complete image;
 * blobs and layers of a pull that failed are left to garbage collection. The caller holds the shared image lock.
 * @throws RegistryError, PullError; the reason of `signal`.
 */
export async function pullImage(parts: PullParts, request: PullRequest): Promise<ImageRecord> {
  const image = familiarName(request.reference);
  try {
    return await pullFromHosts(parts, request);
  } catch (error) {
    request.signal.throwIfAborted();
    const isNamed =
      error instanceof RegistryError && error.message.startsWith(`Cannot pull "${image}"`);
    throw isNamed ? error : new PullError(image, error);
  }
}

async function pullFromHosts(parts: PullParts, request: PullRequest): Promise<ImageRecord> {
  const { domain } = request.reference;
  const endpoints = await parts.hosts.endpointsOf(domain);
  await parts.turns.next();
  const client = new MirroredClient({ ...parts, ...request, domain, endpoints });
  const remote = new RemoteImage(parts, { request, client });
  try {
    return await pullRemote(remote, parts, request);
  } finally {
    await remote.close();
  }
}

async function pullRemote(
  remote: RemoteImage,
  parts: PullParts,
  request: PullRequest,
): Promise<ImageRecord> {
  const { reference, platform, signal, onProgress } = request;
  const target = await remote.fetchTarget();
  const { source, onManifest } = remote;
  await parts.turns.next();
  const selected = await selectImage(target, { platform, source, onManifest });
  await parts.turns.next();
  return storeImage(parts, {
    selected,
    target,
    names: namesFor(reference, target.digest),
    source: remote.layerSource(selected.manifest),
    signal,
    onProgress,
  });
}

/** Stores an image: its layers and small blobs, then the record. @throws LayerError, RegistryError; the reason of `signal`. */
export async function storeImage(
  { blobs, layers: layerStore, store }: Pick<PullParts, 'blobs' | 'layers' | 'store'>,
  {
    selected,
    target,
    names,
    source,
    signal,
    onProgress,
  }: {
    readonly selected: SelectedImage;
    readonly target: Document;
    readonly names: readonly string[];
    readonly source: LayerSource;
    readonly signal: AbortSignal;
    readonly onProgress: ProgressListener;
  },
): Promise<ImageRecord> {
  const layers = imageLayers(selected);
  // Beside the layers: each is a few journeys to the file system, which a small image would wait for.
  const documents = writeDocuments(blobs, selected, target);
  documents.catch(() => undefined);
  try {
    await unpackLayers(layers, { blobs, layers: layerStore, source, signal, onProgress });
  } finally {
    // Whoever comes next must not find us still writing; when the layers failed, that is the error that counts.
    await documents.catch(() => undefined);
  }
  await documents;
  signal.throwIfAborted();
  return store.put(describe(selected, layers), { names, targetDigest: target.digest });
}

/** Config, manifest and index as blobs; when it settles none of them is being written any more. */
async function writeDocuments(
  blobs: BlobStore,
  { configBytes, manifestBytes, manifestDigest }: SelectedImage,
  target: Document,
): Promise<void> {
  // A name that stands for a manifest has no index.
  const index = target.digest === manifestDigest ? [] : [target.bytes];
  for (const bytes of [configBytes, manifestBytes, ...index]) await blobs.write(bytes);
}

/** Pairs the layers of the manifest with the diff IDs of the config, whose number is equal. */
function imageLayers({ manifest, config }: SelectedImage): ImageLayer[] {
  return manifest.layers.map(({ digest, sizeBytes, mediaType }, i) => ({
    digest,
    diffId: config.diffIds[i] as Digest,
    sizeBytes,
    mediaType,
  }));
}

/** Tag name (none when the reference has a digest) and repository digest, contract A26 and A27. */
export function namesFor(reference: Reference, digest: Digest): string[] {
  const repository = repositoryName(reference);
  const tag = effectiveTag(reference);
  return [...(tag === undefined ? [] : [`${repository}:${tag}`]), `${repository}@${digest}`];
}

function describe(selected: SelectedImage, layers: readonly ImageLayer[]): ImageDescription {
  const { manifest, manifestDigest, config } = selected;
  const layerBytes = layers.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return {
    id: manifest.config.digest,
    manifestDigest,
    platform: config.platform,
    sizeBytes: manifest.config.sizeBytes + layerBytes,
    layers,
    config: config.config,
    createdAt: config.created,
    pinned: false,
  };
}

/** One image in its registry. What the blob store has already is not fetched again. */
class RemoteImage {
  readonly #blobs: BlobStore;
  readonly #store: ImageStore;
  readonly #turns: PullTurns;
  readonly #client: MirroredClient;
  readonly #request: PullRequest;
  readonly #image: string;
  readonly #early: EarlyLayers;
  #expected: readonly Descriptor[] = [];

  constructor(
    { blobs, store, layers, turns }: PullParts,
    { request, client }: { readonly request: PullRequest; readonly client: MirroredClient },
  ) {
    this.#blobs = blobs;
    this.#store = store;
    this.#turns = turns;
    this.#request = request;
    this.#image = familiarName(request.reference);
    this.#client = client;
    this.#early = new EarlyLayers({
      signal: request.signal,
      isNeeded: async (layer) =>
        foreignUrls(layer).length === 0 && (await blobs.size(layer.digest)) === undefined,
      open: (layer, signal) => client.openBlob({ ...this.#blobRequest(layer), signal }),
      make: ({ digest, sizeBytes }) =>
        layers.begin({
          digest,
          sizeBytes,
          source: { pour: this.#pour({ digest, sizeBytes }, []) },
        }),
    });
  }

  async close(): Promise<void> {
    await this.#early.discard();
    await this.#client.close();
  }

  /**
   * The manifest or index that the reference names. A tag is always asked for: only the registry knows what it means now, and to whom. For one that
   * this machine has pulled before, what it means is asked first, which is often all that is needed; for another one that would be a journey for nothing,
   * unless there are mirrors that may deliver the content and not say what the tag means.
   */
  async fetchTarget(): Promise<Document> {
    const { reference } = this.#request;
    const wanted = reference.digest ?? effectiveTag(reference) ?? '';
    const request = this.#manifestRequest(wanted);
    const isKnown =
      !isDigest(wanted) && this.#store.resolve(canonicalName(reference)) !== undefined;
    const isApart = !isDigest(wanted) && this.#client.resolvesApart;
    const announced = isKnown || isApart ? await this.#client.resolveTag(request) : undefined;
    const local = announced && (await this.#blobs.read(announced, MAX_MANIFEST_BYTES));
    if (announced !== undefined && local)
      return { digest: announced, bytes: local, mediaType: undefined };
    return this.#client.fetchManifest(
      isApart && announced !== undefined ? this.#manifestRequest(announced) : request,
    );
  }

  readonly onManifest = ({ layers }: ImageManifest): void => {
    this.#expected = layers;
  };

  readonly source: DocumentSource = async ({ digest, sizeBytes }, kind) => {
    const local = await this.#blobs.read(digest, Math.max(sizeBytes, MAX_MANIFEST_BYTES));
    if (local?.byteLength === sizeBytes) return local;
    if (kind === 'config') {
      this.#early.begin(this.#expected);
      return this.#client.fetchBlob(this.#blobRequest({ digest, sizeBytes }));
    }
    return (await this.#client.fetchManifest(this.#manifestRequest(digest))).bytes;
  };

  layerSource(manifest: ImageManifest): LayerSource {
    const descriptors = new Map(manifest.layers.map((layer) => [layer.digest, layer]));
    return async (layer) => ({
      early: await this.#early.takeBegun(layer.digest),
      pour: this.#pour(layer, foreignUrls(descriptors.get(layer.digest))),
    });
  }

  /** @param urls of a foreign layer */
  #pour(layer: Pick<Descriptor, 'digest' | 'sizeBytes'>, urls: readonly string[]) {
    return async (sink: BlobSink, signal: AbortSignal): Promise<void> => {
      await this.#turns.next();
      const opened = () => this.#early.takeAnswer(layer.digest, signal);
      const request = { ...this.#blobRequest(layer), signal, opened };
      const counting = new CountingSink(sink);
      try {
        if (urls.length > 0) await this.#pourForeign(request, { urls, sink: counting });
        else await this.#client.pourBlob(request, counting, 0);
      } finally {
        this.#request.onFetched?.(counting.bytes);
      }
    };
  }

  /** Tries the addresses of a foreign layer, then the registry itself: it may have been pushed there all the same. */
  async #pourForeign(
    request: BlobRequest,
    { urls, sink }: { readonly urls: readonly string[]; readonly sink: BlobSink },
  ): Promise<void> {
    const counting = new CountingSink(sink);
    for (const url of urls) {
      try {
        const offsetBytes = counting.bytes;
        await this.#client.pourForeignBlob(request, counting, { url, offsetBytes });
        return;
      } catch {
        // The next place may have it; the error of the last one is the caller's.
        request.signal?.throwIfAborted();
      }
    }
    await this.#client.pourBlob(request, sink, counting.bytes);
  }

  #manifestRequest(reference: string) {
    const { reference: image, signal } = this.#request;
    return {
      path: image.path,
      reference,
      image: this.#image,
      maxBytes: MAX_MANIFEST_BYTES,
      signal,
    };
  }

  #blobRequest({
    digest,
    sizeBytes,
  }: {
    readonly digest: Digest;
    readonly sizeBytes: number;
  }): BlobRequest {
    const { reference, signal } = this.#request;
    return { path: reference.path, digest, sizeBytes, image: this.#image, signal };
  }
}

function foreignUrls(descriptor: Descriptor | undefined): readonly string[] {
  return descriptor !== undefined && isForeignLayerType(descriptor.mediaType)
    ? descriptor.urls
    : [];
}
