import type { WebSocket } from 'ws';
import { forwardConnection } from './port-forward.js';
import type { StreamingBackend } from './streaming-backend.js';
import type { StreamingLimits } from './streaming-limits.js';
import { WebSocketChannels } from './web-socket-channels.js';

export interface WebSocketForwardOptions {
  readonly webSocket: WebSocket;
  readonly version: number;
  readonly isBase64: boolean;
  readonly sandboxId: string;
  /** One connection each, on channels 2i for its data and 2i+1 for its error. */
  readonly ports: readonly number[];
  readonly limits: StreamingLimits;
  readonly backend: StreamingBackend;
}

/**
 * Serves port-forwarding in the old form over WebSocket: one connection to each port, made at once. Resolves when all have ended
 * and the WebSocket is closed.
 * @see contracts/streaming.md section 5.2
 */
export async function serveWebSocketForward(options: WebSocketForwardOptions): Promise<void> {
  const { sandboxId, limits, backend } = options;
  const channels = new WebSocketChannels({ ...options, onLost: () => undefined });
  const pairs = options.ports.map((port, index) => ({
    port,
    data: channels.open(2 * index),
    error: channels.open(2 * index + 1),
  }));
  // The first message of each channel is its port, so that the client knows which is which.
  for (const { port, data, error } of pairs) {
    const name = Buffer.alloc(2);
    name.writeUInt16LE(port);
    data.write(name);
    error.write(name);
  }
  await Promise.all(
    pairs.map(({ port, data, error }) =>
      forwardConnection({
        data,
        error,
        what: `port ${port} to pod ${sandboxId}`,
        connect: (signal) => backend.connect({ sandboxId, port }, signal),
        lingerMs: limits.forwardLingerMs,
        dialMs: limits.setupMs,
      }),
    ),
  );
  await channels.close();
}
