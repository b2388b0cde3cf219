import type { Duplex } from 'node:stream';
import type { ProcessStreams } from '../process-streams.js';

/** Runs a command inside a running container. */
export interface ExecRequest {
  readonly containerId: string;
  /** Program and arguments. */
  readonly command: readonly string[];
  /** Whether the command gets a terminal; all its output is then `stdout`. */
  readonly terminal: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

/** Connects to the first process of a running container. */
export interface AttachRequest {
  readonly containerId: string;
  /** Must equal what the container was made with; the backend knows. */
  readonly terminal: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

/** One TCP connection to a port inside a sandbox's network. */
export interface PortForwardRequest {
  readonly sandboxId: string;
  /** 1 to 65535. */
  readonly port: number;
}

/**
 * What stands behind the streams. Everything it throws reaches the client as text, so a message holds no secret.
 *
 * A backend ends `stdout` and `stderr` once all output is in them, and destroys `stdin` when the process takes no more input; when
 * `streams.signal` fires, the two outputs are destroyed already and `stdin` ends after what the client has sent. It may settle
 * long after that: nothing waits for it.
 */
export interface StreamingBackend {
  /** Runs the command to its end; answers when all its output has been written. */
  exec(request: ExecRequest, streams: ProcessStreams): Promise<{ readonly exitCode: number }>;
  /** Joins client and process until the process ends or the client leaves. */
  attach(request: AttachRequest, streams: ProcessStreams): Promise<void>;
  /**
   * Opens a connection, with half-close, to `port` on the loopback of the sandbox's network. Whoever gets it destroys it; a
   * connection made after `signal` fired is destroyed at once.
   */
  connect(request: PortForwardRequest, signal: AbortSignal): Promise<Duplex>;
}
