import type { Digest } from '../digest.js';
import type { TransportResponse } from '../registry/transport.js';
import type { Descriptor } from './manifest.js';
import type { BegunLayer } from './unpack.js';

export interface EarlyLayersOptions {
  /** Whether a layer must come from the registry. */
  readonly isNeeded: (layer: Descriptor) => Promise<boolean>;
  /** Asks for a layer. */
  readonly open: (layer: Descriptor, signal: AbortSignal) => Promise<TransportResponse>;
  /** Begins to make a layer from what was asked for. */
  readonly make: (layer: Descriptor) => BegunLayer;
  readonly signal: AbortSignal;
}

/** As many as are unpacked at once. */
const MAX_EARLY_LAYERS = 4;

/**
 * Layers that are asked for, and begun to be made, while the config is on its way, which only tells what they must unpack to: one journey to the registry
 * less. A request that fails counts for nothing here: whoever makes the layer asks again.
 */
export class EarlyLayers {
  readonly #options: EarlyLayersOptions;
  readonly #requests = new Map<Digest, EarlyRequest>();
  readonly #begun = new Map<Digest, Promise<BegunLayer | undefined>>();

  constructor(options: EarlyLayersOptions) {
    this.#options = options;
  }

  begin(layers: readonly Descriptor[]): void {
    const distinct = new Map(layers.map((layer) => [layer.digest, layer]));
    for (const layer of [...distinct.values()].slice(0, MAX_EARLY_LAYERS)) {
      this.#begun.set(
        layer.digest,
        this.#beginOne(layer).catch(() => undefined),
      );
    }
  }

  /** The making of a layer that has begun, the caller's from now on; once. Undefined: there is none. */
  async takeBegun(digest: Digest): Promise<BegunLayer | undefined> {
    const begun = this.#begun.get(digest);
    this.#begun.delete(digest);
    return begun;
  }

  /** The answer for a layer, for its maker to pour or discard; undefined: there is none. `signal` ends it. */
  async takeAnswer(digest: Digest, signal: AbortSignal): Promise<TransportResponse | undefined> {
    const request = this.#requests.get(digest);
    if (request === undefined) return undefined;
    this.#requests.delete(digest);
    const { response, controller } = request;
    const abort = () => controller.abort(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    return response;
  }

  /** Leaves those that nobody took. */
  async discard(): Promise<void> {
    await Promise.all([...this.#begun.values()].map(async (begun) => (await begun)?.discard()));
    this.#begun.clear();
    for (const { response, controller, isAnswered } of this.#requests.values()) {
      if (!isAnswered) controller.abort(new Error('The layer is not needed'));
      await (await response)?.body.discard();
    }
    this.#requests.clear();
  }

  async #beginOne(layer: Descriptor): Promise<BegunLayer | undefined> {
    const { isNeeded, open, make, signal } = this.#options;
    if (!(await isNeeded(layer))) return undefined;
    const controller = new AbortController();
    const response = open(layer, AbortSignal.any([signal, controller.signal])).catch(
      () => undefined,
    );
    const request: EarlyRequest = { response, controller, isAnswered: false };
    response.then(() => {
      request.isAnswered = true;
    });
    this.#requests.set(layer.digest, request);
    return make(layer);
  }
}

interface EarlyRequest {
  readonly response: Promise<TransportResponse | undefined>;
  readonly controller: AbortController;
  isAnswered: boolean;
}
