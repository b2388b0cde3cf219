import type { ServeConfig } from '../config.js';
import type { Log } from '../log.js';
import { NO_TELEMETRY, type Telemetry } from '../telemetry.js';
import { combineTelemetry } from './combined-telemetry.js';
import { Metrics, type MetricsSources } from './metrics.js';
import { MetricsServer } from './metrics-server.js';
import { Tracing, tracesUrl } from './tracing.js';

export interface ObservabilityOptions {
  readonly config: Pick<ServeConfig, 'metricsAddress' | 'otlpEndpoint'>;
  readonly environment: NodeJS.ProcessEnv;
  readonly version: string;
  readonly log: Log;
}

/** Metrics and traces as far as the configuration asks for them; of what it does not ask for nothing is loaded. */
export class Observability implements AsyncDisposable {
  readonly telemetry: Telemetry;
  readonly #options: ObservabilityOptions;
  readonly #metrics: Metrics | undefined;
  readonly #tracing: Tracing | undefined;
  #server: MetricsServer | undefined;

  private constructor(
    options: ObservabilityOptions,
    { metrics, tracing }: { metrics: Metrics | undefined; tracing: Tracing | undefined },
  ) {
    this.#options = options;
    this.#metrics = metrics;
    this.#tracing = tracing;
    const parts = [metrics, tracing].filter((part) => part !== undefined);
    this.telemetry = parts.length === 0 ? NO_TELEMETRY : combineTelemetry(parts);
  }

  static async open(options: ObservabilityOptions): Promise<Observability> {
    const { config, environment, version } = options;
    const url = tracesUrl(config.otlpEndpoint, environment);
    const metrics = config.metricsAddress === undefined ? undefined : await Metrics.open();
    const tracing = url === undefined ? undefined : await Tracing.open({ url, version });
    return new Observability(options, { metrics, tracing });
  }

  /** Serves the metrics, with these among them. @throws RuntimeError `LISTEN_FAILED`. */
  async serve(sources: MetricsSources): Promise<void> {
    const { metricsAddress } = this.#options.config;
    if (this.#metrics === undefined || metricsAddress === undefined) return;
    await this.#metrics.count(sources);
    this.#server = await MetricsServer.start(metricsAddress, this.#metrics);
    this.#options.log.info({ url: this.#server.url }, 'serving metrics');
  }

  async close(): Promise<void> {
    await this.#server?.close();
    await this.#tracing?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
