import { Server, ServerCredentials } from '@grpc/grpc-js';
import { ContainerClaims } from '../container/container-claims.js';
import { SandboxClaims } from '../sandbox/sandbox-claims.js';
import type { Telemetry } from '../telemetry.js';
import { type CriLog, type FinishedCall, SILENT } from './call-log.js';
import type { CriEngine, CriStreaming } from './cri-engine.js';
import { ImageServiceService, RuntimeServiceService } from './generated/api.js';
import { imageService } from './image-service.js';
import { Rpc } from './rpc.js';
import { runtimeService } from './runtime-service.js';
import { SocketFile } from './socket-file.js';

/** Both ways; what every client of the interface uses. */
const MESSAGE_MAX_BYTES = 16 * 2 ** 20;
/** How long calls that are under way may take when the server closes. */
const CLOSE_TIMEOUT_MS = 10_000;

export interface CriServerOptions {
  readonly engine: CriEngine;
  /** Absolute path of the unix socket. */
  readonly socketPath: string;
  /** Name or number of a group that may connect; absent: only the owner. */
  readonly group?: string;
  /** Where exec, attach and port-forward send their clients. */
  readonly streaming: CriStreaming;
  readonly log?: CriLog;
  /** Told of every answered call, for metrics. */
  readonly onCall?: (call: FinishedCall) => void;
  /** Told how long calls take. */
  readonly telemetry?: Telemetry;
}

/**
 * The Kubernetes Container Runtime Interface v1 on a unix socket: gRPC in, engine out. It owns neither the engine nor the streaming server.
 * Close it, or hold it by `await using`; running containers go on.
 */
export class CriServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #rpc: Rpc;
  readonly #socket: SocketFile;
  #closing: Promise<void> | undefined;

  private constructor(parts: { server: Server; rpc: Rpc; socket: SocketFile }) {
    this.#server = parts.server;
    this.#rpc = parts.rpc;
    this.#socket = parts.socket;
  }

  /**
   * Serves from now on.
   * @throws AlreadyExistsError when another server answers at the path; FailedPreconditionError when something else lies there.
   */
  static async start(options: CriServerOptions): Promise<CriServer> {
    const { engine, streaming, socketPath, group, log = SILENT, onCall, telemetry } = options;
    const rpc = new Rpc({ log, onCall, telemetry });
    const server = new Server({
      'grpc.max_receive_message_length': MESSAGE_MAX_BYTES,
      'grpc.max_send_message_length': MESSAGE_MAX_BYTES,
    });
    const parts = {
      engine,
      streaming,
      rpc,
      claims: {
        sandboxes: new SandboxClaims(engine.sandboxes),
        containers: new ContainerClaims(engine.containers),
      },
    };
    server.addService(RuntimeServiceService, runtimeService(parts));
    server.addService(ImageServiceService, imageService(parts));
    try {
      const bind = (path: string) => listen(server, path);
      const socket = await SocketFile.open(socketPath, { group, bind });
      return new CriServer({ server, rpc, socket });
    } catch (error) {
      server.forceShutdown();
      throw error;
    }
  }

  get socketPath(): string {
    return this.#socket.path;
  }

  /** Takes no more calls, lets those that are under way end, and removes the socket. Closing twice is fine. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#socket.close();
    const shutDown = new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
    await this.#rpc.close(CLOSE_TIMEOUT_MS);
    this.#server.forceShutdown();
    await shutDown;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}
