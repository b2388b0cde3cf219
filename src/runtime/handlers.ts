import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import type { Config, HandlerConfig } from '../config.js';
import { InvalidArgumentError, UnsupportedError } from '../errors.js';
import { NO_FEATURES, parseFeatures, type RuntimeFeatures } from './oci-features.js';
import { type OciRuntime, runtimeFeatures } from './oci-runtime.js';

/** A handler as callers see it. */
export interface RuntimeHandler {
  readonly name: string;
  readonly type: HandlerConfig['type'];
  /** Whether sandboxes that ask for none get it. */
  readonly isDefault: boolean;
  readonly features: RuntimeFeatures;
}

/** What a sandbox of a handler is run by. */
export interface ResolvedHandler {
  readonly name: string;
  /** Absent: the supervisor itself. */
  readonly oci?: OciRuntime;
}

export interface RuntimeHandlersOptions {
  readonly config: Pick<Config, 'handlers' | 'defaultHandler'>;
  /** What the native way can do on this machine. */
  readonly nativeFeatures: RuntimeFeatures;
}

/** The configured ways to run containers. */
export class RuntimeHandlers {
  readonly #options: RuntimeHandlersOptions;
  /** By handler: a runtime is asked once for as long as the engine lives. */
  readonly #features = new Map<string, Promise<RuntimeFeatures>>();

  constructor(options: RuntimeHandlersOptions) {
    this.#options = options;
  }

  /**
   * The handler of this name, or the default one for none or an empty name.
   * @throws InvalidArgumentError naming a handler that is not configured; UnsupportedError for one whose program cannot be executed.
   */
  async resolve(name: string | undefined): Promise<ResolvedHandler> {
    const { handlers, defaultHandler } = this.#options.config;
    const wanted = name === undefined || name === '' ? defaultHandler : name;
    const handler = Object.hasOwn(handlers, wanted) ? handlers[wanted] : undefined;
    if (handler === undefined) {
      throw new InvalidArgumentError(
        `Runtime handler ${JSON.stringify(wanted.slice(0, 100))} is not configured: expected one of ${Object.keys(handlers).join(', ')}`,
      );
    }
    if (handler.type === 'native') return { name: wanted };
    try {
      await access(handler.path, constants.X_OK);
    } catch (cause) {
      throw new UnsupportedError(
        `Runtime handler "${wanted}": cannot execute "${handler.path}", install it or change the configuration`,
        { cause },
      );
    }
    return { name: wanted, oci: ociRuntime(handler) };
  }

  /** Every configured handler with what it can do. A runtime that cannot be asked is reported with no features. */
  list(): Promise<RuntimeHandler[]> {
    const { handlers, defaultHandler } = this.#options.config;
    return Promise.all(
      Object.entries(handlers).map(async ([name, handler]) => ({
        name,
        type: handler.type,
        isDefault: name === defaultHandler,
        features: await this.#featuresOf(name, handler),
      })),
    );
  }

  #featuresOf(name: string, handler: HandlerConfig): Promise<RuntimeFeatures> {
    if (handler.type === 'native') return Promise.resolve(this.#options.nativeFeatures);
    let features = this.#features.get(name);
    if (features === undefined) {
      features = runtimeFeatures(ociRuntime(handler)).then(parseFeatures);
      this.#features.set(name, features);
      // One that cannot be asked now may be installed later.
      features.catch(() => this.#features.delete(name));
    }
    return features.catch(() => NO_FEATURES);
  }
}

function ociRuntime(handler: HandlerConfig & { readonly type: 'oci' }): OciRuntime {
  const { path, options = [], root } = handler;
  return { program: path, options, ...(root === undefined ? {} : { root }) };
}
