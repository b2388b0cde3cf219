import { type FSWatcher, watch } from 'node:fs';
import { dirname } from 'node:path';
import { LineJoiner, type LogEntry, parseLogLine } from './log-entry.js';
import { LogFile } from './log-file.js';

/** Where the kernel does not tell of a change (inotify limit reached, some file systems), the file is looked at this often. */
const POLL_MS = 1000;

export interface ReadLogOptions {
  /** Go on waiting for lines until `ended` or `signal` aborts. */
  readonly follow?: boolean;
  /**
   * Aborted when nothing more will be written: the container has exited and its output is in the file. What is there is still
   * read, then the iteration ends. Without it a follower ends only by `signal`.
   */
  readonly ended?: AbortSignal;
  /** Ends the iteration at once, without an error. */
  readonly signal?: AbortSignal;
  /** Leaves out lines that are older. */
  readonly sinceNanos?: bigint;
  /** Begins with the last so many lines. */
  readonly tailLines?: number;
}

/**
 * Lines of a container's log in the CRI format, parts joined, over rotation. An absent file has no lines (and may come, when following).
 * Lines that are no log entries are left out.
 * @throws Error of the file system other than ENOENT.
 */
export async function* readLog(
  path: string,
  options: ReadLogOptions = {},
): AsyncGenerator<LogEntry> {
  const { follow = false, ended, signal, sinceNanos = 0n, tailLines } = options;
  const file = new LogFile(path);
  const joiner = new LineJoiner();
  const changes = follow ? new Changes(dirname(path), [ended, signal]) : undefined;
  try {
    if (tailLines !== undefined) await file.seekToTail(tailLines);
    for (;;) {
      // Asked before reading: what was written before the end is then surely read.
      const isLastRound = !follow || ended?.aborted === true;
      changes?.reset();
      for await (const line of file.lines()) {
        if (signal?.aborted) return;
        const part = parseLogLine(line);
        const entry = part === undefined ? undefined : joiner.push(part);
        if (entry !== undefined && entry.timestampNanos >= sinceNanos) yield entry;
      }
      if (signal?.aborted) return;
      if (isLastRound) break;
      await changes?.wait();
    }
    for (const entry of joiner.rest()) if (entry.timestampNanos >= sinceNanos) yield entry;
  } finally {
    changes?.close();
    await file.close();
  }
}

/** Tells when a directory changed, a signal aborted, or it is time to look anyway. */
class Changes {
  #watcher: FSWatcher | undefined;
  readonly #signals: readonly AbortSignal[];
  readonly #notice = (): void => {
    this.#isPending = true;
    this.#wake?.();
  };
  #isPending = false;
  #wake: (() => void) | undefined;

  constructor(directory: string, signals: readonly (AbortSignal | undefined)[]) {
    this.#signals = signals.filter((signal) => signal !== undefined);
    for (const signal of this.#signals) signal.addEventListener('abort', this.#notice);
    try {
      this.#watcher = watch(directory, this.#notice);
      // Without notifications from here on, the poll goes on alone.
      this.#watcher.on('error', () => this.#watcher?.close());
    } catch {
      // The directory is not there yet, or no inotify watch is left: the poll finds the file.
    }
  }

  /** Forgets what was noticed; called before looking, so that a change during the look is not lost. */
  reset(): void {
    this.#isPending = this.#signals.some(({ aborted }) => aborted);
  }

  wait(): Promise<void> {
    if (this.#isPending) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#notice(), POLL_MS);
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = undefined;
        resolve();
      };
    });
  }

  close(): void {
    this.#watcher?.close();
    for (const signal of this.#signals) signal.removeEventListener('abort', this.#notice);
  }
}
