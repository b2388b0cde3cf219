import type { CriEngine } from '../../cri/cri-engine.js';
import type { StreamingEngine } from '../../cri/streaming-backend.js';
import { InvalidArgumentError } from '../../errors.js';
import type { CommandContext } from '../context.js';

export interface ServeOptions {
  readonly socket: string;
  /** Group that may connect to the socket. */
  readonly group?: string;
  /** `host:port`; port 0 takes a free one. */
  readonly streamingAddress: string;
}

/** `cais serve`: the CRI socket until SIGINT or SIGTERM. Pods outlive it, and the next one adopts them. */
export async function serve(context: CommandContext, options: ServeOptions): Promise<void> {
  const { settings, stderr, signal } = context;
  const [{ Engine }, { CriServer }, { EngineStreams }, { StreamingServer }] = await Promise.all([
    import('../../engine.js'),
    import('../../cri/server.js'),
    import('../../cri/streaming-backend.js'),
    import('../../stream/streaming-server.js'),
  ]);
  const tell = (message: string) => stderr.write(`cais: ${message}\n`);
  const { socket, group } = options;
  const address = parseAddress(options.streamingAddress);
  await using engine = await Engine.open({
    ...settings,
    adopt: true,
    onWarning: (message) => tell(`warning: ${message}`),
  });
  // The parts of the engine that the socket asks for come from several sides.
  const served = engine as unknown as CriEngine & StreamingEngine;
  const streaming = await StreamingServer.start({
    ...address,
    backend: new EngineStreams(served),
    onError: (error) => tell(`streaming: ${String(error)}`),
  });
  try {
    await using server = await CriServer.start({
      engine: served,
      socketPath: socket,
      ...(group === undefined ? {} : { group }),
      streaming,
      log: {
        debug: () => undefined,
        info: () => undefined,
        error: (fields, message) => tell(`${message} ${JSON.stringify(fields)}`),
      },
    });
    tell(`serving at ${server.socketPath}, streams at ${streaming.baseUrl}`);
    if (!signal.aborted) {
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    }
  } finally {
    await streaming.close();
  }
}

function parseAddress(text: string): { readonly address: string; readonly port: number } {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:[\]]+)):([0-9]{1,5})$/.exec(text);
  const port = Number(match?.[3] ?? Number.NaN);
  const address = match?.[1] ?? match?.[2];
  if (address === undefined || !(port <= 65_535)) {
    throw new InvalidArgumentError(
      `Streaming address ${JSON.stringify(text.slice(0, 100))}: expected such as "127.0.0.1:0"`,
    );
  }
  return { address, port };
}
