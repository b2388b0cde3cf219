import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { parseAddress } from '../config-checks.js';
import { InvalidArgumentError, RuntimeError } from '../errors.js';
import type { Metrics } from './metrics.js';

const REQUEST_TIMEOUT_MS = 10_000;
const MAX_CONNECTIONS = 32;

/** Serves `GET /metrics`, and nothing else, by plain HTTP. */
export class MetricsServer implements AsyncDisposable {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /**
   * Listens on `address`, `host:port`.
   * @throws InvalidArgumentError; RuntimeError `LISTEN_FAILED`.
   */
  static async start(address: string, metrics: Metrics): Promise<MetricsServer> {
    const place = parseAddress(address);
    if (place === undefined) {
      throw new InvalidArgumentError(`Invalid address of the metrics: ${JSON.stringify(address)}`);
    }
    const options = { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS };
    const server = createServer(options, (request, response) => {
      const { pathname } = new URL(request.url ?? '/', 'http://metrics');
      if (pathname !== '/metrics' || !['GET', 'HEAD'].includes(request.method ?? '')) {
        response.writeHead(404, { 'content-type': 'text/plain' }).end('Only GET /metrics\n');
        return;
      }
      metrics.text().then(
        (text) => response.writeHead(200, { 'content-type': metrics.contentType }).end(text),
        () => response.writeHead(500).end(),
      );
    });
    server.maxConnections = MAX_CONNECTIONS;
    await new Promise<void>((resolve, reject) => {
      const fail = (cause: Error) =>
        reject(new RuntimeError('LISTEN_FAILED', `Cannot serve metrics on ${address}`, { cause }));
      server.once('error', fail);
      server.listen(place, () => {
        server.removeListener('error', fail);
        resolve();
      });
    });
    return new MetricsServer(server);
  }

  /** `http://127.0.0.1:9476/metrics` */
  get url(): string {
    const { address, family, port } = this.#server.address() as AddressInfo;
    return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}/metrics`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
