import type { Histogram, Registry } from 'prom-client';
import type { ObserveOptions, Operation, Telemetry } from '../telemetry.js';

/** What is counted when somebody asks. */
export interface MetricsSources {
  /** State of each container. */
  readonly containerStates: () => Iterable<string>;
  readonly sandboxStates: () => Iterable<string>;
}

/** Seconds; a container starts in some milliseconds, a pull takes up to many minutes. */
const START_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const PULL_BUCKETS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800];
const RPC_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 120];

/** Shown even when nothing is in them: a series that comes and goes is hard to query. */
const CONTAINER_STATES = ['created', 'running', 'exited', 'unknown'];
const SANDBOX_STATES = ['initializing', 'ready', 'notready'];

/** Metrics of one process for Prometheus; docs/CONFIGURATION.md names them. */
export class Metrics implements Telemetry {
  readonly #registry: Registry;
  readonly #durations: Readonly<Record<Operation, Histogram>>;
  readonly #addPulledBytes: (bytes: number) => void;

  private constructor(
    registry: Registry,
    parts: {
      readonly durations: Readonly<Record<Operation, Histogram>>;
      readonly addPulledBytes: (bytes: number) => void;
    },
  ) {
    this.#registry = registry;
    this.#durations = parts.durations;
    this.#addPulledBytes = parts.addPulledBytes;
  }

  /** Begins to count. prom-client is loaded here. */
  static async open(): Promise<Metrics> {
    const { collectDefaultMetrics, Counter, Histogram, Registry } = await import('prom-client');
    const registry = new Registry();
    collectDefaultMetrics({ register: registry });
    const registers = [registry];
    const outcome = (name: string, help: string, buckets: number[]) =>
      new Histogram({ name, help, buckets, labelNames: ['outcome'], registers });
    const pulledBytes = new Counter({
      name: 'cais_image_pull_bytes_total',
      help: 'Compressed bytes of layers that came from registries',
      registers,
    });
    return new Metrics(registry, {
      durations: {
        rpc: new Histogram({
          name: 'cais_rpc_duration_seconds',
          help: 'Calls of the CRI socket',
          buckets: RPC_BUCKETS,
          labelNames: ['method', 'code'],
          registers,
        }),
        'image.pull': outcome('cais_image_pull_duration_seconds', 'Pulls of images', PULL_BUCKETS),
        'sandbox.start': outcome(
          'cais_sandbox_start_duration_seconds',
          'Starts of sandboxes, network included',
          START_BUCKETS,
        ),
        'container.start': outcome(
          'cais_container_start_duration_seconds',
          'Starts of containers, from the order to the running process',
          START_BUCKETS,
        ),
      },
      addPulledBytes: (bytes) => pulledBytes.inc(bytes),
    });
  }

  /** Adds what is counted when somebody asks. Once. */
  async count({ containerStates, sandboxStates }: MetricsSources): Promise<void> {
    const { Gauge } = await import('prom-client');
    const registers = [this.#registry];
    const gauge = (
      name: string,
      { help, states, list }: { help: string; states: string[]; list: () => Iterable<string> },
    ) =>
      new Gauge({
        name,
        help,
        labelNames: ['state'],
        registers,
        collect() {
          const counts = new Map<string, number>(states.map((state) => [state, 0]));
          for (const state of list()) counts.set(state, (counts.get(state) ?? 0) + 1);
          for (const [state, number] of counts) this.set({ state }, number);
        },
      });
    gauge('cais_containers', {
      help: 'Containers',
      states: CONTAINER_STATES,
      list: containerStates,
    });
    gauge('cais_sandboxes', { help: 'Sandboxes', states: SANDBOX_STATES, list: sandboxStates });
  }

  async observe<T>(
    operation: Operation,
    { method, outcomeOf = () => 'error' }: ObserveOptions,
    action: () => Promise<T>,
  ): Promise<T> {
    const start = performance.now();
    const end = (outcome: string) => {
      const labels = method === undefined ? { outcome } : { method, code: outcome };
      this.#durations[operation].observe(labels, (performance.now() - start) / 1000);
    };
    try {
      const result = await action();
      end(method === undefined ? 'ok' : 'OK');
      return result;
    } catch (error) {
      end(outcomeOf(error));
      throw error;
    }
  }

  pulledBytes(bytes: number): void {
    this.#addPulledBytes(bytes);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** All of it in Prometheus' text form. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }
}
