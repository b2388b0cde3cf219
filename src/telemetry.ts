/** What is worth a span, and a time in the metrics. */
export type Operation = 'rpc' | 'image.pull' | 'sandbox.start' | 'container.start';

export type TelemetryAttributes = Readonly<Record<string, string | number | boolean>>;

export interface ObserveOptions {
  /** Shown in spans, not in metrics: names and ids have no bound. Never a secret. */
  readonly attributes?: TelemetryAttributes;
  /** Of an RPC: `/runtime.v1.RuntimeService/Version`; names the span, and counts apart in the metrics. */
  readonly method?: string;
  /** Where the caller's own span came with the request. @see W3C Trace Context, "traceparent" */
  readonly traceparent?: string | undefined;
  /** Word for the outcome of a failure; absent: `error`. */
  readonly outcomeOf?: (error: unknown) => string;
}

/**
 * Who wants to know how long things take: metrics and traces of `cais serve`. Services tell it what they do and know nothing of what becomes of that;
 * without anybody it costs a call.
 */
export interface Telemetry {
  /** Runs `action` and passes on what it gives or throws; what is observed inside belongs to it. */
  observe<T>(operation: Operation, options: ObserveOptions, action: () => Promise<T>): Promise<T>;
  /** Compressed bytes of layers came from a registry. */
  pulledBytes(bytes: number): void;
}

/** Tells nobody. */
export const NO_TELEMETRY: Telemetry = {
  observe: (_operation, _options, action) => action(),
  pulledBytes: () => undefined,
};
