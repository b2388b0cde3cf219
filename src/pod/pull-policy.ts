import { performance } from 'node:perf_hooks';
import { describeError, RuntimeError, type RuntimeErrorOptions } from '../errors.js';
import type { PullProgress } from '../image/pull-progress.js';
import type { PodContainer } from '../objects/defaults.js';
import type { PodImage, PodImages } from './services.js';

/**
 * A container's image cannot be had. `code` is Kubernetes' reason in our spelling: `IMAGE_NEVER_PULL`, `IMAGE_PULL_FAILED`.
 */
export class ImageUnavailableError extends RuntimeError {
  readonly image: string;
  /** `ErrImageNeverPull` or `ErrImagePull`. */
  readonly reason: string;

  constructor(
    code: 'IMAGE_NEVER_PULL' | 'IMAGE_PULL_FAILED',
    { image, message }: { image: string; message: string },
    options?: RuntimeErrorOptions,
  ) {
    super(code, message, options);
    this.image = image;
    this.reason = code === 'IMAGE_NEVER_PULL' ? 'ErrImageNeverPull' : 'ErrImagePull';
  }
}

export interface EnsureImageOptions {
  readonly images: PodImages;
  readonly signal: AbortSignal;
  readonly onEvent: (event: {
    readonly reason: 'Pulling' | 'Pulled';
    readonly message: string;
  }) => void;
  readonly onProgress?: (progress: PullProgress) => void;
}

/**
 * The image of one container, pulled if its policy says so.
 * @throws ImageUnavailableError when it is absent and may not be, or cannot be, pulled.
 * @see contracts/kubernetes-semantics.md B9 to B16
 */
export async function ensureImage(
  { image, imagePullPolicy }: Pick<PodContainer, 'image' | 'imagePullPolicy'>,
  { images, signal, onEvent, onProgress }: EnsureImageOptions,
): Promise<PodImage> {
  const present = imagePullPolicy === 'Always' ? undefined : images.find(image);
  if (present !== undefined) {
    onEvent({
      reason: 'Pulled',
      message: `Container image "${image}" already present on machine and can be accessed by the pod`,
    });
    return present;
  }
  if (imagePullPolicy === 'Never') {
    throw new ImageUnavailableError('IMAGE_NEVER_PULL', {
      image,
      message: `Container image "${image}" is not present with pull policy of Never`,
    });
  }
  onEvent({ reason: 'Pulling', message: `Pulling image "${image}"` });
  const startedAt = performance.now();
  try {
    const pulled = await images.pull(image, {
      signal,
      ...(onProgress === undefined ? {} : { onProgress }),
    });
    const duration = formatDuration(performance.now() - startedAt);
    onEvent({
      reason: 'Pulled',
      message: `Successfully pulled image "${image}" in ${duration} (${duration} including waiting). Image size: ${pulled.sizeBytes} bytes.`,
    });
    return pulled;
  } catch (cause) {
    if (signal.aborted) throw cause;
    throw new ImageUnavailableError(
      'IMAGE_PULL_FAILED',
      { image, message: `Failed to pull image "${image}": ${describeError(cause)}` },
      { cause },
    );
  }
}

/** A duration as Go prints it: `45ms`, `1.234s`, `2m3.5s`. */
export function formatDuration(milliseconds: number): string {
  const whole = Math.trunc(milliseconds);
  if (whole < 1000) return whole === 0 ? '0s' : `${whole}ms`;
  const seconds = (whole % 60_000) / 1000;
  const minutes = Math.trunc(whole / 60_000) % 60;
  const hours = Math.trunc(whole / 3_600_000);
  if (hours > 0) return `${hours}h${minutes}m${seconds}s`;
  return minutes > 0 ? `${minutes}m${seconds}s` : `${seconds}s`;
}
