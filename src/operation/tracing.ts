import { AsyncLocalStorage } from 'node:async_hooks';
import type { Context, Span, Tracer } from '@opentelemetry/api';
import type { BasicTracerProvider } from '@opentelemetry/sdk-trace-base';
import type { ObserveOptions, Operation, Telemetry } from '../telemetry.js';

type Api = typeof import('@opentelemetry/api');

export interface TracingOptions {
  /** Base URL of the collector. */
  readonly endpoint: string;
  readonly version: string;
}

/** How long the last spans may take at the end; then they are lost. */
const SHUTDOWN_TIMEOUT_MS = 3_000;

/** Where traces go: the configuration's word, then that of the environment. Undefined: nowhere. @see OpenTelemetry, OTLP exporter configuration */
export function tracesUrl(
  endpoint: string | undefined,
  environment: NodeJS.ProcessEnv,
): string | undefined {
  if (environment['OTEL_SDK_DISABLED'] === 'true') return undefined;
  const exact = environment['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'];
  if (endpoint === undefined && exact) return exact;
  const base = endpoint ?? environment['OTEL_EXPORTER_OTLP_ENDPOINT'];
  return base ? `${base.replace(/\/+$/, '')}/v1/traces` : undefined;
}

/** Spans of one process, sent by OTLP over HTTP. What is observed while another thing is observed becomes its child. */
export class Tracing implements Telemetry {
  readonly #api: Api;
  readonly #provider: BasicTracerProvider;
  readonly #tracer: Tracer;
  /** The span that encloses what runs now. Of our own: the SDK's way is a global of the process. */
  readonly #current = new AsyncLocalStorage<Context>();

  private constructor(api: Api, provider: BasicTracerProvider, version: string) {
    this.#api = api;
    this.#provider = provider;
    this.#tracer = provider.getTracer('cais', version);
  }

  /** The OpenTelemetry packages are loaded here. `url` is that of {@link tracesUrl}. */
  static async open({ url, version }: { url: string; version: string }): Promise<Tracing> {
    const [api, sdk, { OTLPTraceExporter }, { defaultResource, resourceFromAttributes }] =
      await Promise.all([
        import('@opentelemetry/api'),
        import('@opentelemetry/sdk-trace-base'),
        import('@opentelemetry/exporter-trace-otlp-http'),
        import('@opentelemetry/resources'),
      ]);
    const name = process.env['OTEL_SERVICE_NAME'] ?? 'cais';
    const provider = new sdk.BasicTracerProvider({
      resource: defaultResource().merge(
        resourceFromAttributes({ 'service.name': name, 'service.version': version }),
      ),
      spanProcessors: [new sdk.BatchSpanProcessor(new OTLPTraceExporter({ url }))],
    });
    return new Tracing(api, provider, version);
  }

  async observe<T>(
    operation: Operation,
    options: ObserveOptions,
    action: () => Promise<T>,
  ): Promise<T> {
    const { SpanKind, trace } = this.#api;
    const parent = this.#current.getStore() ?? this.#remoteParent(options.traceparent);
    const { method, attributes = {} } = options;
    const [service, name] = method?.split('/').filter(Boolean) ?? [];
    const span = this.#tracer.startSpan(
      method?.replace(/^\//, '') ?? operation,
      {
        kind: operation === 'rpc' ? SpanKind.SERVER : SpanKind.INTERNAL,
        attributes: {
          ...attributes,
          ...(service === undefined || name === undefined
            ? {}
            : { 'rpc.system': 'grpc', 'rpc.service': service, 'rpc.method': name }),
        },
      },
      parent,
    );
    try {
      return await this.#current.run(trace.setSpan(parent, span), action);
    } catch (error) {
      this.#fail(span, error, options);
      throw error;
    } finally {
      span.end();
    }
  }

  pulledBytes(bytes: number): void {
    const context = this.#current.getStore();
    const span = context && this.#api.trace.getSpan(context);
    span?.addEvent('pulled', { bytes });
  }

  /** Sends what is left, but not for long. */
  async close(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, SHUTDOWN_TIMEOUT_MS);
    });
    // A collector that is away is no reason to fail.
    await Promise.race([this.#provider.shutdown().catch(() => undefined), late]);
    clearTimeout(timer);
  }

  #fail(span: Span, error: unknown, { outcomeOf }: ObserveOptions): void {
    const message = error instanceof Error ? error.message : String(error);
    span.setStatus({ code: this.#api.SpanStatusCode.ERROR, message });
    const { code } = error as { code?: unknown };
    const word = outcomeOf?.(error) ?? (typeof code === 'string' ? code : 'error');
    span.setAttribute('error.type', word);
  }

  #remoteParent(traceparent: string | undefined): Context {
    const { ROOT_CONTEXT, trace } = this.#api;
    const [, traceId, spanId, flags] =
      /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-|$)/.exec(traceparent ?? '') ??
      [];
    if (traceId === undefined || spanId === undefined) return ROOT_CONTEXT;
    const traceFlags = Number.parseInt(flags ?? '0', 16) & 1;
    const remote = { traceId, spanId, traceFlags, isRemote: true };
    return this.#api.isSpanContextValid(remote)
      ? trace.setSpanContext(ROOT_CONTEXT, remote)
      : ROOT_CONTEXT;
  }
}
