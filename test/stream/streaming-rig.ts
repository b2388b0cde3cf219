import { readdirSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach } from 'vitest';
import type { ExecRequest } from '../../src/stream/streaming-backend.js';
import type { StreamingLimits } from '../../src/stream/streaming-limits.js';
import { StreamingServer, type StreamingServerOptions } from '../../src/stream/streaming-server.js';
import { ProcessBackend } from './process-backend.js';
import type { SpdyClient } from './spdy-client.js';

/** A server with its backend; everything is closed after each test. */
export interface StreamingRig {
  readonly server: StreamingServer;
  readonly backend: ProcessBackend;
  /** What the server reported; expected to stay empty. */
  readonly errors: unknown[];
}

const rigs: StreamingRig[] = [];

afterEach(async () => {
  for (const { server, backend } of rigs.splice(0)) {
    await server.close();
    backend.close();
  }
});

export async function startRig(
  limits: Partial<StreamingLimits> = {},
  options: Partial<StreamingServerOptions> = {},
): Promise<StreamingRig> {
  const backend = new ProcessBackend();
  const errors: unknown[] = [];
  const server = await StreamingServer.start({
    backend,
    limits,
    onError: (error) => errors.push(error),
    ...options,
  });
  const rig = { server, backend, errors };
  rigs.push(rig);
  return rig;
}

export function execRequest(command: string[], options: Partial<ExecRequest> = {}): ExecRequest {
  return {
    containerId: 'c1',
    command,
    terminal: false,
    stdin: false,
    stdout: true,
    stderr: true,
    ...options,
  };
}

export function shell(script: string, options: Partial<ExecRequest> = {}): ExecRequest {
  return execRequest(['sh', '-c', script], options);
}

/** Waits until `condition` holds; what is waited for announces itself to nobody. */
export async function eventually(
  condition: () => boolean,
  { timeoutMs = 10_000 }: { readonly timeoutMs?: number } = {},
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`Not so after ${timeoutMs} ms: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Bytes that are really held, in buffers and on the heap: what is garbage is collected first. */
export function heldBytes(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  // A collection leaves it to a thread of V8 to free dead buffers, which takes a while on a busy machine; the next one waits for that.
  collect();
  const { arrayBuffers, heapUsed } = process.memoryUsage();
  return arrayBuffers + heapUsed;
}

/** Descriptors that this process has open. */
export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/** What the error stream said, as an object. */
export async function statusOf(
  client: SpdyClient,
  error: { toEnd(): Promise<string> },
): Promise<unknown> {
  const text = await error.toEnd();
  await client.untilClosed();
  return JSON.parse(text);
}
