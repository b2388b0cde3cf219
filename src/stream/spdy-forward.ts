import type { Duplex } from 'node:stream';
import type { ChannelStream } from './channel-stream.js';
import { forwardConnection } from './port-forward.js';
import { type IncomingStream, SpdyConnection } from './spdy-connection.js';
import { parsePort } from './stream-request.js';
import type { StreamingBackend } from './streaming-backend.js';
import type { StreamingLimits } from './streaming-limits.js';

export interface SpdyForwardOptions {
  readonly transport: Duplex;
  readonly head: Buffer;
  readonly sandboxId: string;
  readonly limits: StreamingLimits;
  readonly backend: StreamingBackend;
}

/** What two streams with the same request id make together. */
interface Pair {
  data?: ChannelStream;
  error?: ChannelStream;
  port: number;
  /** Until both are there. */
  timer?: NodeJS.Timeout;
}

/**
 * Serves port-forwarding over SPDY: any number of connections, each a pair of streams, over hours. What happens to one pair is
 * told on its error stream and touches no other. Resolves when the connection is closed.
 * @see contracts/streaming.md section 4
 */
export function serveSpdyForward(options: SpdyForwardOptions): Promise<void> {
  return new Promise((resolve) => {
    const pairs = new ForwardPairs(options);
    new SpdyConnection({
      transport: options.transport,
      head: options.head,
      limits: options.limits,
      onStream: (incoming) => pairs.add(incoming),
      onLost: () => {
        pairs.clear();
        resolve();
      },
    });
  });
}

class ForwardPairs {
  readonly #options: SpdyForwardOptions;
  readonly #pairs = new Map<string, Pair>();

  constructor(options: SpdyForwardOptions) {
    this.#options = options;
  }

  add(incoming: IncomingStream): void {
    const type = incoming.headers.get('streamtype');
    const port = parsePort(incoming.headers.get('port'));
    if ((type !== 'data' && type !== 'error') || port === undefined) return;
    const key = pairKey(incoming, type);
    const pair: Pair = this.#pairs.get(key) ?? { port };
    if (pair[type] !== undefined || pair.port !== port) return;
    pair[type] = incoming.accept();
    this.#pairs.set(key, pair);
    if (pair.data === undefined || pair.error === undefined) {
      pair.timer = setTimeout(() => this.#giveUp(key), this.#options.limits.setupMs);
      return;
    }
    clearTimeout(pair.timer);
    void this.#forward(pair.data, pair.error, port).finally(() => this.#pairs.delete(key));
  }

  clear(): void {
    for (const { timer } of this.#pairs.values()) clearTimeout(timer);
    this.#pairs.clear();
  }

  /** The other half did not come. */
  #giveUp(key: string): void {
    const pair = this.#pairs.get(key);
    this.#pairs.delete(key);
    pair?.data?.destroy();
    pair?.error?.destroy();
  }

  #forward(data: ChannelStream, error: ChannelStream, port: number): Promise<void> {
    const { backend, sandboxId, limits } = this.#options;
    return forwardConnection({
      data,
      error,
      what: `port ${port} to pod ${sandboxId}`,
      connect: (signal) => backend.connect({ sandboxId, port }, signal),
      lingerMs: limits.forwardLingerMs,
      dialMs: limits.setupMs,
    });
  }
}

/** Old clients send no request id; their data stream is the one they open right after the error stream. */
function pairKey({ id, headers }: IncomingStream, type: 'data' | 'error'): string {
  const requestId = headers.get('requestid');
  if (requestId !== undefined && requestId !== '') return `request ${requestId}`;
  return `stream ${type === 'error' ? id : id - 2}`;
}
