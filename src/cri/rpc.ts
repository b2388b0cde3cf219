import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  type ServerUnaryCall,
  type ServerWritableStream,
  status,
} from '@grpc/grpc-js';
import { NO_TELEMETRY, type Telemetry } from '../telemetry.js';
import type { CriLog, FinishedCall } from './call-log.js';
import { toServiceError } from './status.js';

/** Makes whole messages of what a handler gives; every generated message has it. */
export interface Codec<Message, Partial> {
  fromPartial(object: Partial): Message;
}

/** What a handler gets besides its request. */
export interface CallOptions {
  /** Fires when the client has gone away, its deadline has passed, or the server closes. */
  readonly signal: AbortSignal;
}

export interface RpcOptions {
  readonly log: CriLog;
  /** Told of every answered call, for metrics. */
  readonly onCall?: ((call: FinishedCall) => void) | undefined;
  readonly telemetry?: Telemetry | undefined;
}

/** How long handlers that were told to give up may take for it. */
const ABORT_TIMEOUT_MS = 5_000;

interface RunningCall {
  readonly kind: 'unary' | 'stream';
  readonly controller: AbortController;
}

type AnyCall = ServerUnaryCall<unknown, unknown> | ServerWritableStream<unknown, unknown>;

/** The edge of the socket: wraps handlers, so that every one logs, fails and ends in the same way, and knows which are under way. */
export class Rpc {
  readonly #options: RpcOptions;
  readonly #running = new Map<Promise<void>, RunningCall>();
  #isClosing = false;

  constructor(options: RpcOptions) {
    this.#options = options;
  }

  /** One request, one answer. */
  unary<Request, Response, Partial>(
    codec: Codec<Response, Partial>,
    handler: (request: Request, options: CallOptions) => Partial | Promise<Partial>,
  ): handleUnaryCall<Request, Response> {
    return (call, callback) => {
      this.#track(call, 'unary', async (signal) => {
        try {
          const answer = codec.fromPartial(await handler(call.request, { signal }));
          callback(null, answer);
        } catch (error) {
          callback(toServiceError(error));
          throw error;
        }
      });
    };
  }

  /** One request, a stream of answers. A client that reads slowly slows the handler down. */
  stream<Request, Response, Partial>(
    codec: Codec<Response, Partial>,
    handler: (request: Request, options: CallOptions) => AsyncIterable<Partial>,
  ): handleServerStreamingCall<Request, Response> {
    return (call) => {
      this.#track(call, 'stream', async (signal) => {
        try {
          for await (const partial of started(handler(call.request, { signal }), call)) {
            if (signal.aborted) break;
            if (!call.write(codec.fromPartial(partial))) await drained(call, signal);
          }
          call.end();
        } catch (error) {
          if (signal.aborted) call.end();
          else {
            call.destroy(toServiceError(error));
            throw error;
          }
        }
      });
    };
  }

  /**
   * Ends the streams, which only their clients would end, and waits until the other handlers have come to their ends; after `timeoutMs` they are told to
   * give up. What goes on then leaves records from which the next engine finishes or undoes it.
   */
  async close(timeoutMs: number): Promise<void> {
    this.#isClosing = true;
    this.#abort(({ kind }) => kind === 'stream');
    if (await this.#ended(timeoutMs)) return;
    this.#abort(() => true);
    await this.#ended(ABORT_TIMEOUT_MS);
  }

  #abort(isMeant: (call: RunningCall) => boolean): void {
    for (const call of [...this.#running.values()].filter(isMeant)) {
      call.controller.abort(new DOMException('The socket is being closed', 'AbortError'));
    }
  }

  async #ended(timeoutMs: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), timeoutMs);
    });
    const all = Promise.all(this.#running.keys()).then(() => true);
    try {
      return await Promise.race([all, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #track(call: AnyCall, kind: RunningCall['kind'], run: (signal: AbortSignal) => Promise<void>) {
    const controller = new AbortController();
    call.on('cancelled', () =>
      controller.abort(new DOMException('The client has gone away', 'AbortError')),
    );
    if (this.#isClosing && kind === 'stream') controller.abort();
    const startedAtMs = performance.now();
    const { telemetry = NO_TELEMETRY } = this.#options;
    const about = {
      method: call.getPath(),
      traceparent: call.metadata.get('traceparent')[0]?.toString(),
      outcomeOf: (error: unknown) => status[toServiceError(error).code ?? status.UNKNOWN],
    };
    const observed = telemetry.observe('rpc', about, () => run(controller.signal));
    const finished = observed.then(
      () => this.#report(call, startedAtMs, undefined),
      (error: unknown) => this.#report(call, startedAtMs, error),
    );
    this.#running.set(finished, { kind, controller });
    void finished.then(() => this.#running.delete(finished));
  }

  #report(call: AnyCall, startedAtMs: number, error: unknown): void {
    const { log, onCall } = this.#options;
    const method = call.getPath();
    const durationMs = Math.round((performance.now() - startedAtMs) * 1000) / 1000;
    const failure = error === undefined ? undefined : toServiceError(error);
    const code = failure?.code ?? status.OK;
    onCall?.({ method, code, durationMs });
    const fields = { method, durationMs, code: status[code] };
    if (failure === undefined) log.debug(fields, 'answered');
    else if (code === status.INTERNAL) {
      const stack = error instanceof Error ? error.stack : undefined;
      log.error({ ...fields, stack }, failure.details);
    } else log.info(fields, failure.details);
  }
}

/**
 * The answers of a handler, which is started before its client is told that the call is under way: a client that waits for that misses no event.
 */
async function* started<T>(
  answers: AsyncIterable<T>,
  call: ServerWritableStream<unknown, unknown>,
): AsyncGenerator<T> {
  const iterator = answers[Symbol.asyncIterator]();
  try {
    let next = iterator.next();
    call.sendMetadata(new Metadata());
    for (let answer = await next; answer.done !== true; answer = await next) {
      yield answer.value;
      next = iterator.next();
    }
  } finally {
    await iterator.return?.();
  }
}

function drained(call: ServerWritableStream<unknown, unknown>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      call.off('drain', done);
      call.off('close', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    call.once('drain', done);
    call.once('close', done);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}
