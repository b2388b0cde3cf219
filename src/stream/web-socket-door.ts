import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { WebSocket, WebSocketServer } from 'ws';

/** The clients' messages have 32 KiB. */
const MAX_MESSAGE_BYTES = 1024 * 1024;

/** Does the handshake of WebSocket connections. The library is loaded when the first one comes: most machines never see one. */
export class WebSocketDoor {
  readonly #protocols = new WeakMap<IncomingMessage, string>();
  #server: Promise<WebSocketServer> | undefined;

  /**
   * Answers the handshake with `protocol` (none for the empty name); the connection is paused until somebody listens. A handshake that is wrong is answered with an error and
   * resolves with undefined, as does one whose client has gone.
   */
  async accept(
    message: IncomingMessage,
    { socket, head, protocol }: { socket: Duplex; head: Buffer; protocol: string },
  ): Promise<WebSocket | undefined> {
    this.#server ??= this.#load();
    const server = await this.#server;
    // The name of the tunnel protocol has a slash, which RFC 6455 forbids and the library refuses, so the choice is kept from it.
    delete message.headers['sec-websocket-protocol'];
    this.#protocols.set(message, protocol);
    return await new Promise((resolve) => {
      if (socket.destroyed) return resolve(undefined);
      const gone = () => resolve(undefined);
      socket.once('close', gone);
      server.handleUpgrade(message, socket, head, (webSocket) => {
        socket.off('close', gone);
        webSocket.pause();
        resolve(webSocket);
      });
    });
  }

  async #load(): Promise<WebSocketServer> {
    const { WebSocketServer: Server } = await import('ws');
    const server = new Server({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: MAX_MESSAGE_BYTES,
    });
    server.on('headers', (headers, message) => {
      const protocol = this.#protocols.get(message);
      if (protocol) headers.push(`Sec-WebSocket-Protocol: ${protocol}`);
    });
    return server;
  }
}

/** Presents a connection whose binary messages are one stream of bytes; the borders of messages mean nothing. */
export async function tunnelThrough(webSocket: WebSocket): Promise<Duplex> {
  const { createWebSocketStream } = await import('ws');
  return createWebSocketStream(webSocket, { allowHalfOpen: true });
}
