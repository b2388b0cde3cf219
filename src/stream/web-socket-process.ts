import type { WebSocket } from 'ws';
import type { ProcessStreams } from '../process-streams.js';
import { finishOutput, type ProcessRequest } from './process-session.js';
import { encodeOutcome, type SessionOutcome } from './session-status.js';
import type { StreamingLimits } from './streaming-limits.js';
import { TerminalSizes } from './terminal-sizes.js';
import { WebSocketChannels } from './web-socket-channels.js';

export interface WebSocketProcessOptions {
  readonly webSocket: WebSocket;
  readonly request: ProcessRequest['request'];
  readonly version: number;
  readonly isBase64: boolean;
  readonly limits: StreamingLimits;
  readonly run: (streams: ProcessStreams) => Promise<SessionOutcome>;
}

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const ERROR = 3;
const RESIZE = 4;

const STATUS_SINCE_VERSION = 4;
const SILENT_START_SINCE_VERSION = 5;

/**
 * Serves one exec or attach over WebSocket. Resolves when the connection is closed and the process has ended, whichever is later.
 * @see contracts/streaming.md section 5.2
 */
export async function serveWebSocketProcess(options: WebSocketProcessOptions): Promise<void> {
  const { request, version } = options;
  const lost = new AbortController();
  const channels = new WebSocketChannels({ ...options, onLost: () => lost.abort() });
  const stdin = request.stdin ? channels.open(STDIN, { drainOnLoss: true }) : undefined;
  const stdout = request.stdout ? channels.open(STDOUT) : undefined;
  const stderr = request.stderr ? channels.open(STDERR) : undefined;
  const error = channels.open(ERROR);
  for (const stream of [stdout, stderr, error]) stream?.resume();
  const sizes = request.terminal ? openSizes(channels) : undefined;
  if (version < SILENT_START_SINCE_VERSION) {
    channels.greet(request.stdout ? STDOUT : request.stderr ? STDERR : ERROR);
  }
  const outcome = await options.run({
    ...(stdin === undefined ? {} : { stdin }),
    ...(stdout === undefined ? {} : { stdout }),
    ...(stderr === undefined ? {} : { stderr }),
    ...(sizes === undefined ? {} : { sizes }),
    signal: lost.signal,
  });
  await Promise.all([finishOutput(stdout), finishOutput(stderr)]);
  const status = encodeOutcome(outcome, version >= STATUS_SINCE_VERSION ? 'json' : 'text');
  if (status !== '' && error.writable) error.write(status);
  await finishOutput(error);
  await channels.close();
  sizes?.end();
}

function openSizes(channels: WebSocketChannels): TerminalSizes {
  const sizes = new TerminalSizes();
  const stream = channels.open(RESIZE);
  stream.on('data', (bytes: Buffer) => sizes.push(bytes));
  stream.once('end', () => sizes.end());
  stream.once('close', () => sizes.end());
  return sizes;
}
