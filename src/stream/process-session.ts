import { finished } from 'node:stream/promises';
import type { ProcessStreams } from '../process-streams.js';
import type { ChannelStream } from './channel-stream.js';
import type { SessionOutcome } from './session-status.js';
import type { StreamRequest } from './stream-request.js';
import type { StreamingBackend } from './streaming-backend.js';

export type ProcessRequest = Exclude<StreamRequest, { readonly kind: 'portforward' }>;

/** Runs the process of a session to its end; never throws. */
export async function runProcess(
  backend: StreamingBackend,
  { kind, request }: ProcessRequest,
  streams: ProcessStreams,
): Promise<SessionOutcome> {
  try {
    if (kind === 'exec') return { exitCode: (await backend.exec(request, streams)).exitCode };
    await backend.attach(request, streams);
    return { exitCode: 0 };
  } catch (error) {
    return { error, doing: kind === 'exec' ? 'executing command in' : 'attaching to' };
  }
}

/** Waits until everything written to `stream` is on its way, ending it if that has not been done; a lost stream is done too. */
export async function finishOutput(stream: ChannelStream | undefined): Promise<void> {
  if (stream === undefined || stream.destroyed) return;
  stream.end();
  await finished(stream, { readable: false }).catch(() => undefined);
}
