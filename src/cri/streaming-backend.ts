import type { Duplex } from 'node:stream';
import type { ProcessStreams } from '../process-streams.js';
import type {
  AttachRequest,
  ExecRequest,
  PortForwardRequest,
  StreamingBackend,
} from '../stream/streaming-backend.js';

/** What streams need of the engine. */
export interface StreamingEngine {
  readonly containers: {
    execInteractive(
      id: string,
      options: {
        readonly command: readonly string[];
        readonly terminal: boolean;
        readonly streams: ProcessStreams;
      },
    ): Promise<{ readonly exitCode: number }>;
    attach(id: string, streams: ProcessStreams): Promise<void>;
  };
  readonly sandboxes: {
    dial(
      sandboxId: string,
      port: number,
      options: { readonly signal: AbortSignal },
    ): Promise<Duplex>;
  };
}

/** Exec, attach and port-forward of the CRI, once their clients have come. */
export class EngineStreams implements StreamingBackend {
  readonly #engine: StreamingEngine;

  constructor(engine: StreamingEngine) {
    this.#engine = engine;
  }

  exec(
    { containerId, command, terminal }: ExecRequest,
    streams: ProcessStreams,
  ): Promise<{ readonly exitCode: number }> {
    return this.#engine.containers.execInteractive(containerId, { command, terminal, streams });
  }

  attach({ containerId }: AttachRequest, streams: ProcessStreams): Promise<void> {
    return this.#engine.containers.attach(containerId, streams);
  }

  connect({ sandboxId, port }: PortForwardRequest, signal: AbortSignal): Promise<Duplex> {
    return this.#engine.sandboxes.dial(sandboxId, port, { signal });
  }
}
