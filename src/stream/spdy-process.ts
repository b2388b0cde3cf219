import type { Duplex } from 'node:stream';
import type { ProcessStreams } from '../process-streams.js';
import type { ChannelStream } from './channel-stream.js';
import { finishOutput, type ProcessRequest } from './process-session.js';
import { encodeOutcome, type SessionOutcome } from './session-status.js';
import { type IncomingStream, SpdyConnection } from './spdy-connection.js';
import type { StreamingLimits } from './streaming-limits.js';
import { TerminalSizes } from './terminal-sizes.js';

export interface SpdyProcessOptions {
  readonly transport: Duplex;
  readonly head: Buffer;
  readonly request: ProcessRequest['request'];
  /** Of the protocol, 1 to 4. */
  readonly version: number;
  readonly limits: StreamingLimits;
  readonly run: (streams: ProcessStreams) => Promise<SessionOutcome>;
}

/** Since version 3 clients with a terminal tell its size. */
const RESIZE_SINCE_VERSION = 3;
/** Since version 4 the outcome is a `Status` object. */
const STATUS_SINCE_VERSION = 4;

/**
 * Serves one exec or attach over SPDY: waits until the client has opened the streams it asked for, runs the process, tells how it
 * ended. Resolves when the connection is closed and the process has ended, whichever is later.
 * @see contracts/streaming.md section 3
 */
export async function serveSpdyProcess(options: SpdyProcessOptions): Promise<void> {
  const lost = new AbortController();
  const arrival = new StreamArrival(expectedStreams(options));
  const connection = new SpdyConnection({
    transport: options.transport,
    head: options.head,
    limits: options.limits,
    onStream: (incoming) => arrival.add(incoming),
    onLost: () => {
      lost.abort();
      arrival.fail();
    },
  });
  const timer = setTimeout(() => arrival.fail(), options.limits.setupMs);
  const isComplete = await arrival.result;
  clearTimeout(timer);
  if (!isComplete) return connection.destroy();

  const { streams: arrived } = arrival;
  const error = arrived.get('error');
  const stdout = arrived.get('stdout');
  const stderr = arrived.get('stderr');
  // Clients send nothing on these; what comes all the same must not fill their buffers and so stop the connection.
  for (const stream of [error, stdout, stderr]) stream?.resume();
  const sizes = readSizes(arrived.get('resize'));
  const outcome = await options.run({
    ...present('stdin', arrived.get('stdin')),
    ...present('stdout', stdout),
    ...present('stderr', stderr),
    ...present('sizes', sizes),
    signal: lost.signal,
  });
  await Promise.all([finishOutput(stdout), finishOutput(stderr)]);
  const form = options.version >= STATUS_SINCE_VERSION ? 'json' : 'text';
  const status = encodeOutcome(outcome, form);
  // An empty text is success; writing it would be a frame that says nothing.
  if (status !== '' && error?.writable) error.write(status);
  await finishOutput(error);
  await connection.close();
  sizes?.end();
}

function expectedStreams({ request, version }: SpdyProcessOptions): string[] {
  return [
    'error',
    ...(request.stdin ? ['stdin'] : []),
    ...(request.stdout ? ['stdout'] : []),
    ...(request.stderr ? ['stderr'] : []),
    ...(request.terminal && version >= RESIZE_SINCE_VERSION ? ['resize'] : []),
  ];
}

/** Collects the streams that a session needs, in whatever order they come. One too many ends the session before it begins. */
class StreamArrival {
  readonly streams = new Map<string, ChannelStream>();
  /** True once all are there. */
  readonly result: Promise<boolean>;
  readonly #missing: Set<string>;
  #settle: (isComplete: boolean) => void = () => undefined;

  constructor(expected: readonly string[]) {
    this.#missing = new Set(expected);
    this.result = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  add(incoming: IncomingStream): void {
    const name = incoming.headers.get('streamtype') ?? '';
    if (!this.#missing.delete(name)) {
      this.fail();
      return;
    }
    this.streams.set(name, incoming.accept({ drainOnLoss: name === 'stdin' }));
    if (this.#missing.size === 0) this.#settle(true);
  }

  /** Does nothing once the session has begun. */
  fail(): void {
    this.#settle(false);
  }
}

function readSizes(stream: ChannelStream | undefined): TerminalSizes | undefined {
  if (stream === undefined) return undefined;
  const sizes = new TerminalSizes();
  stream.on('data', (bytes: Buffer) => sizes.push(bytes));
  stream.once('end', () => sizes.end());
  stream.once('close', () => sizes.end());
  return sizes;
}

/** Optional fields are absent rather than undefined. */
function present<K extends keyof ProcessStreams, V>(
  name: K,
  value: V | undefined,
): { [P in K]?: V } {
  const fields: { [P in K]?: V } = {};
  if (value !== undefined) fields[name] = value;
  return fields;
}
