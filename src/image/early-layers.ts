import type { Digest } from '../digest.js';
import type { TransportResponse } from '../registry/transport.js';
import type { Descriptor } from './manifest.js';

export interface EarlyLayersOptions {
  /** Begins to fetch a layer; undefined: it is not needed. */
  readonly open: (layer: Descriptor, signal: AbortSignal) => Promise<TransportResponse | undefined>;
  readonly signal: AbortSignal;
}

/** As many as are unpacked at once. */
const MAX_EARLY_LAYERS = 4;

/**
 * Layers that are asked for while the config is still on its way, which only tells what they must unpack to: one journey to the registry less. A fault
 * counts for nothing here: whoever needs the layer asks again.
 */
export class EarlyLayers {
  readonly #options: EarlyLayersOptions;
  readonly #requests = new Map<Digest, EarlyRequest>();

  constructor(options: EarlyLayersOptions) {
    this.#options = options;
  }

  begin(layers: readonly Descriptor[]): void {
    const distinct = new Map(layers.map((layer) => [layer.digest, layer]));
    for (const layer of [...distinct.values()].slice(0, MAX_EARLY_LAYERS)) {
      const controller = new AbortController();
      const signal = AbortSignal.any([this.#options.signal, controller.signal]);
      const response = this.#options.open(layer, signal).catch(() => undefined);
      const request: EarlyRequest = { response, controller, isAnswered: false };
      response.then(() => {
        request.isAnswered = true;
      });
      this.#requests.set(layer.digest, request);
    }
  }

  /** The answer for a layer, for the caller to pour or discard; undefined: there is none. `signal` ends it. */
  async take(digest: Digest, signal: AbortSignal): Promise<TransportResponse | undefined> {
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
    for (const { response, controller, isAnswered } of this.#requests.values()) {
      if (!isAnswered) controller.abort(new Error('The layer is not needed'));
      await (await response)?.body.discard();
    }
    this.#requests.clear();
  }
}

interface EarlyRequest {
  readonly response: Promise<TransportResponse | undefined>;
  readonly controller: AbortController;
  isAnswered: boolean;
}
