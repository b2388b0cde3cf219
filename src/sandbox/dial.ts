import { connect, Socket } from 'node:net';
import { describeError, FailedPreconditionError } from '../errors.js';
import type { NativeBinding } from '../native.js';

const LOOPBACK = ['127.0.0.1', '::1'] as const;
/** Loopback answers at once, or its queue is full. */
const TIMEOUT_MS = 10_000;

export interface DialTarget {
  /** Absent: the host's own network. */
  readonly netnsPath?: string;
  readonly port: number;
}

export interface DialOptions {
  readonly signal?: AbortSignal;
}

/**
 * Connects to a port that a process of the pod listens on, by its loopback addresses: IPv4, then IPv6. The socket keeps its other half open when one
 * ends (`allowHalfOpen`); the caller destroys it.
 * @throws FailedPreconditionError when nobody listens, or not within ten seconds.
 */
export async function dialLoopback(
  native: Pick<NativeBinding, 'connectInNamespace'>,
  { netnsPath, port, signal }: DialTarget & DialOptions,
): Promise<Socket> {
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new FailedPreconditionError(`Cannot connect to port ${port}: expected 1 to 65535`);
  }
  const reasons: unknown[] = [];
  for (const ip of LOOPBACK) {
    signal?.throwIfAborted();
    try {
      if (netnsPath === undefined) return await dialHost(ip, { port, signal });
      return await dialNamespace(native, { netnsPath, ip, port, signal });
    } catch (error) {
      signal?.throwIfAborted();
      reasons.push(error);
    }
  }
  throw new FailedPreconditionError(
    `Cannot connect to port ${port} of the pod: ${describeError(reasons[0])}`,
    { cause: reasons[0] },
  );
}

async function dialNamespace(
  native: Pick<NativeBinding, 'connectInNamespace'>,
  {
    signal,
    ...to
  }: { netnsPath: string; ip: string; port: number; signal: AbortSignal | undefined },
): Promise<Socket> {
  const connecting = native
    .connectInNamespace({ ...to, timeoutMs: TIMEOUT_MS })
    .then((fd) => new Socket({ fd, allowHalfOpen: true, readable: true, writable: true }));
  if (signal === undefined) return connecting;
  // The thread goes on until it has an answer, which nobody wants any more then.
  const aborted = new Promise<never>((_, reject) => {
    const onAbort = () => {
      connecting.then((socket) => socket.destroy()).catch(() => undefined);
      reject(signal.reason);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    const forget = () => signal.removeEventListener('abort', onAbort);
    connecting.then(forget, forget);
  });
  return Promise.race([connecting, aborted]);
}

function dialHost(
  host: string,
  { port, signal }: { port: number; signal: AbortSignal | undefined },
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, allowHalfOpen: true });
    const end = (error: unknown) => {
      socket.destroy();
      reject(error);
    };
    const onAbort = () => end(signal?.reason);
    socket.setTimeout(TIMEOUT_MS, () => end(new Error('no answer')));
    signal?.addEventListener('abort', onAbort, { once: true });
    socket.once('error', end);
    socket.once('connect', () => {
      socket.setTimeout(0);
      socket.removeListener('error', end);
      signal?.removeEventListener('abort', onAbort);
      resolve(socket);
    });
    socket.once('close', () => signal?.removeEventListener('abort', onAbort));
  });
}
