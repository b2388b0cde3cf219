import { InvalidArgumentError } from '../errors.js';
import type { AttachRequest, ExecRequest } from './streaming-backend.js';

/** Asks for a URL at which any number of connections into one sandbox can be made. */
export interface PortForwardUrlRequest {
  readonly sandboxId: string;
  /** For the old WebSocket protocol only, whose channels are numbered by it; other clients name a port for each connection. */
  readonly ports?: readonly number[];
}

/** What a token stands for. */
export type StreamRequest =
  | { readonly kind: 'exec'; readonly request: ExecRequest }
  | { readonly kind: 'attach'; readonly request: AttachRequest }
  | { readonly kind: 'portforward'; readonly request: PortForwardUrlRequest };

/** Channels are one byte; as base64 text they are characters from `0` on, so two for each port must end before DEL. */
const MAX_LISTED_PORTS = 39;

/**
 * Checks what can be checked without knowing the container.
 * @throws InvalidArgumentError
 * @see contracts/streaming.md section 0
 */
export function checkStreamRequest(granted: StreamRequest): void {
  if (granted.kind === 'portforward') checkPortForward(granted.request);
  else checkProcess(granted);
}

function checkProcess({ kind, request }: Exclude<StreamRequest, { kind: 'portforward' }>): void {
  const what = kind === 'exec' ? 'run a command in' : 'attach to';
  if (request.containerId === '') {
    throw new InvalidArgumentError(`Cannot ${what} a container: container_id is empty; name one`);
  }
  const refuse = (why: string): never => {
    throw new InvalidArgumentError(`Cannot ${what} container "${request.containerId}": ${why}`);
  };
  if (request.terminal && request.stderr) {
    refuse('a terminal has one output; ask for either tty or stderr');
  }
  if (!request.stdin && !request.stdout && !request.stderr) {
    refuse('no stream was asked for; ask for at least one of stdin, stdout and stderr');
  }
  if (kind === 'exec' && request.command.length === 0) refuse('the command is empty');
}

function checkPortForward({ sandboxId, ports = [] }: PortForwardUrlRequest): void {
  if (sandboxId === '') {
    throw new InvalidArgumentError('Cannot forward ports: pod_sandbox_id is empty; name a sandbox');
  }
  const bad = ports.find((port) => !isPort(port));
  if (bad !== undefined) {
    throw new InvalidArgumentError(
      `Cannot forward ports of sandbox "${sandboxId}": port ${bad} is not between 1 and 65535`,
    );
  }
}

/** Whether a TCP connection can be made to this port. */
export function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65_535;
}

/**
 * Reads the decimal `text` as a port.
 * @returns undefined for everything that is not a port.
 */
export function parsePort(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,5}$/.test(text)) return undefined;
  const port = Number(text);
  return isPort(port) ? port : undefined;
}

/** Whether the old WebSocket protocol can number channels for so many ports. */
export function canNumberPorts(count: number): boolean {
  return count >= 1 && count <= MAX_LISTED_PORTS;
}
