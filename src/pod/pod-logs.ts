import { join } from 'node:path';
import type { LogEntry } from '../container/log-entry.js';
import { readLog } from '../container/logs.js';
import { Merge } from './merge.js';

/** One line of one container of a pod. */
export interface PodLogEntry extends LogEntry {
  readonly container: string;
}

export interface PodLogsOptions {
  /** Only this container; absent: all of them. */
  readonly container?: string;
  /** Go on until the pod has ended. */
  readonly follow?: boolean;
  /** Ends the iteration at once, without an error. */
  readonly signal?: AbortSignal;
  readonly sinceNanos?: bigint;
  /** Begin with the last so many lines of each container. */
  readonly tailLines?: number;
}

interface Attempt {
  readonly container: string;
  readonly path: string;
  readonly ended: AbortSignal;
}

/** Path of the log of one attempt, relative to the pod's log directory. */
export function attemptLogPath(container: string, attempt: number): string {
  return `${container}/${attempt}.log`;
}

/** The logs of a pod: which attempts its containers have had, and which of them may still grow. */
export class PodLogs {
  readonly #directory: string;
  readonly #attempts: Attempt[] = [];
  readonly #listeners = new Set<{
    onAttempt: (attempt: Attempt) => void;
    onFinished: () => void;
  }>();
  #isFinished = false;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** A container has been started; its log grows until `ended` settles, or no more where it has none. */
  add(container: string, { attempt, ended }: { attempt: number; ended?: Promise<unknown> }): void {
    const controller = new AbortController();
    const end = () => controller.abort();
    if (ended === undefined) end();
    else ended.then(end, end);
    const path = join(this.#directory, attemptLogPath(container, attempt));
    const added = { container, path, ended: controller.signal };
    this.#attempts.push(added);
    for (const { onAttempt } of this.#listeners) onAttempt(added);
  }

  /** No container of the pod will be started again. */
  finish(): void {
    this.#isFinished = true;
    for (const { onFinished } of this.#listeners) onFinished();
  }

  /**
   * Lines of all containers: what is there now, in the order of time. With `follow` until the pod has ended: first the attempts that
   * have ended, in the order of time, then the others in the order in which they are read; one that was started when another had ended
   * comes behind it.
   */
  async *read(options: PodLogsOptions = {}): AsyncGenerator<PodLogEntry> {
    const { container, follow = false, ...rest } = options;
    const { tailLines: _forExistingOnly, ...untailed } = rest;
    const isWanted = (attempt: Attempt) =>
      container === undefined || attempt.container === container;
    if (!follow) {
      const attempts = this.#attemptsFor(options).filter(isWanted);
      yield* inOrderOfTime(attempts.map((attempt) => readAttempt(attempt, rest)));
      return;
    }
    // A reader may be waiting for a change of its file when the caller leaves: this ends it.
    const leaving = new AbortController();
    const signal = AbortSignal.any([leaving.signal, ...(rest.signal ? [rest.signal] : [])]);
    const following = new Following();
    const add = (attempt: Attempt, how: PodLogsOptions) => {
      const { ended } = attempt;
      following.add(readAttempt(attempt, { ...how, follow, ended, signal }), ended);
    };
    const listener = {
      onAttempt: (attempt: Attempt) => {
        if (isWanted(attempt)) add(attempt, untailed);
      },
      onFinished: () => following.close(),
    };
    const onAbort = () => following.close();
    signal.addEventListener('abort', onAbort);
    this.#listeners.add(listener);
    const attempts = this.#attemptsFor(options).filter(isWanted);
    const complete = attempts.filter(({ ended }) => ended.aborted);
    const completeLines = complete.map((attempt) => readAttempt(attempt, { ...rest, signal }));
    following.add(inOrderOfTime(completeLines), AbortSignal.abort());
    for (const attempt of attempts) if (!complete.includes(attempt)) add(attempt, rest);
    if (this.#isFinished || signal.aborted) following.close();
    try {
      yield* following.lines;
    } finally {
      this.#listeners.delete(listener);
      signal.removeEventListener('abort', onAbort);
      leaving.abort();
    }
  }

  /** All attempts so far; the newest of each container when only last lines are asked for. */
  #attemptsFor({ tailLines }: PodLogsOptions): readonly Attempt[] {
    if (tailLines === undefined) return this.#attempts;
    return [...new Map(this.#attempts.map((attempt) => [attempt.container, attempt])).values()];
  }
}

/** Streams that are followed at the same time, but each comes behind those that had ended when it was added. */
class Following {
  readonly lines = new Merge<PodLogEntry>();
  readonly #reading = new Set<{ readonly ended: AbortSignal; readonly isRead: Promise<void> }>();

  /** @param ended aborted: nothing more comes into the stream than is on its way. */
  add(stream: AsyncIterable<PodLogEntry>, ended: AbortSignal): void {
    const before = [...this.#reading].filter((other) => other.ended.aborted);
    const isRead = this.lines.add(inTurn(stream, Promise.all(before.map((other) => other.isRead))));
    const reading = { ended, isRead };
    this.#reading.add(reading);
    void isRead.then(() => this.#reading.delete(reading));
  }

  /** No further stream will be added. */
  close(): void {
    this.lines.close();
  }
}

async function* inTurn(
  stream: AsyncIterable<PodLogEntry>,
  turn: Promise<unknown>,
): AsyncGenerator<PodLogEntry> {
  await turn;
  yield* stream;
}

async function* readAttempt(
  { container, path }: Attempt,
  options: Parameters<typeof readLog>[1],
): AsyncGenerator<PodLogEntry> {
  for await (const entry of readLog(path, options)) yield { ...entry, container };
}

/** Merges streams that are each in the order of time; the first of equal times is the one of the earlier stream. */
async function* inOrderOfTime(
  streams: readonly AsyncGenerator<PodLogEntry>[],
): AsyncGenerator<PodLogEntry> {
  const heads: { readonly stream: AsyncGenerator<PodLogEntry>; entry: PodLogEntry }[] = [];
  try {
    for (const stream of streams) {
      const first = await stream.next();
      if (!first.done) heads.push({ stream, entry: first.value });
    }
    for (;;) {
      const [oldest] = [...heads].sort((one, other) =>
        one.entry.timestampNanos < other.entry.timestampNanos
          ? -1
          : Number(one.entry.timestampNanos > other.entry.timestampNanos),
      );
      if (oldest === undefined) return;
      yield oldest.entry;
      const next = await oldest.stream.next();
      if (next.done) heads.splice(heads.indexOf(oldest), 1);
      else oldest.entry = next.value;
    }
  } finally {
    for (const stream of streams) await stream.return(undefined);
  }
}
