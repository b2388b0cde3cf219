import { join } from 'node:path';
import { type Config, type ConfigOptions, loadConfig } from '../../config.js';
import { parseAddress } from '../../config-checks.js';
import type { Log } from '../../log.js';
import type { ServiceManager } from '../../operation/service-manager.js';
import type { CommandContext } from '../context.js';

export interface ServeOptions {
  readonly socket?: string;
  /** Group that may connect to the socket. */
  readonly group?: string;
  /** `host:port`; port 0 takes a free one. */
  readonly streamingAddress?: string;
  readonly logLevel?: string;
  /** `host:port` of /metrics. */
  readonly metricsAddress?: string;
}

/** `cais serve`: the CRI socket until SIGINT or SIGTERM. Pods outlive it, and the next one adopts them. One for each root. */
export async function serve(context: CommandContext, options: ServeOptions): Promise<void> {
  const [{ openLog }, { loadNative }, { ServeLock }, { ServiceManager }] = await Promise.all([
    import('../../log.js'),
    import('../../native.js'),
    import('../../operation/serve-lock.js'),
    import('../../operation/service-manager.js'),
  ]);
  const settings = withServeOptions(context.settings, options);
  const config = loadConfig(settings);
  const native = loadNative();
  const log = await openLog({ level: config.serve.logLevel });
  const manager = ServiceManager.take(process.env, {
    native,
    onFailure: (error) => log.warn({ error }, 'cannot tell systemd'),
  });
  const lock = await ServeLock.take(native, config);
  try {
    await serveRoot({ settings, config, log, manager, signal: context.signal });
    log.info({}, 'stopped; containers go on');
  } finally {
    lock.release();
    manager.close();
    log.flush();
  }
}

interface ServeParts {
  readonly settings: ConfigOptions;
  readonly config: Config;
  readonly log: Log;
  readonly manager: ServiceManager;
  readonly signal: AbortSignal;
}

async function serveRoot({ settings, config, log, manager, signal }: ServeParts): Promise<void> {
  const [{ Engine }, { CriServer }, { EngineStreams }, { StreamingServer }, { Observability }] =
    await Promise.all([
      import('../../engine.js'),
      import('../../cri/server.js'),
      import('../../cri/streaming-backend.js'),
      import('../../stream/streaming-server.js'),
      import('../../operation/observability.js'),
    ]);
  const { packageVersion } = await import('../../version.js');
  const version = packageVersion();
  const { socketGroup: group, streamAddress } = config.serve;
  await using observability = await Observability.open({
    config: config.serve,
    environment: process.env,
    version,
    log,
  });
  const { telemetry } = observability;
  await using engine = await Engine.open({
    ...settings,
    adopt: true,
    onWarning: (message) => log.warn({}, message),
    telemetry,
  });
  const { host = '127.0.0.1', port = 0 } = parseAddress(streamAddress) ?? {};
  await using streaming = await closing(
    StreamingServer.start({
      address: host,
      port,
      backend: new EngineStreams(engine),
      onError: (error) => log.warn({ error }, 'a stream failed'),
    }),
  );
  await observability.serve({
    containerStates: () => engine.containers.list().map(({ state }) => state),
    sandboxStates: () => engine.sandboxes.list().map(({ state }) => state),
  });
  await using server = await CriServer.start({
    engine,
    socketPath: config.serve.socket ?? join(config.run, 'cais.sock'),
    ...(group === undefined ? {} : { group }),
    streaming: streaming.server,
    log,
    telemetry,
  });
  const { root } = config;
  const { baseUrl: streams } = streaming.server;
  log.info({ socket: server.socketPath, streams, root, version }, 'serving');
  manager.ready(`Serving at ${server.socketPath}`);
  if (!signal.aborted) {
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  }
  log.info({ reason: String(signal.reason) }, 'stopping');
  manager.stopping();
}

/** The command line wins over the file. */
function withServeOptions(settings: ConfigOptions, options: ServeOptions): ConfigOptions {
  const { socket, group, streamingAddress, logLevel, metricsAddress } = options;
  const serve = {
    ...settings.serve,
    ...(socket === undefined ? {} : { socket }),
    ...(group === undefined ? {} : { socketGroup: group }),
    ...(streamingAddress === undefined ? {} : { streamAddress: streamingAddress }),
    ...(logLevel === undefined ? {} : { logLevel }),
    ...(metricsAddress === undefined ? {} : { metricsAddress }),
  };
  return { ...settings, serve: serve as NonNullable<ConfigOptions['serve']> };
}

async function closing<T extends { close(): Promise<void> }>(started: Promise<T>) {
  const server = await started;
  return { server, [Symbol.asyncDispose]: () => server.close() };
}
