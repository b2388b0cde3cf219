import type { MultiBar, SingleBar } from 'cli-progress';
import type { Digest } from '../digest.js';
import type { PullProgress } from '../image/pull-progress.js';
import { formatBytes } from './table.js';
import { isTerminal } from './terminal.js';

/** Shows the progress of the layers of images that are pulled together. */
export interface ProgressDisplay {
  update(progress: PullProgress): void;
  /** Writes a line, on a terminal above the bars. */
  note(line: string): void;
  /** Leaves the terminal as it was, with the last state on it; notes are plain lines from then on. */
  stop(): void;
}

const WORDS: Readonly<Record<PullProgress['phase'], string>> = {
  waiting: 'waiting',
  downloading: 'downloading',
  extracting: 'finishing',
  done: 'done',
  exists: 'already here',
};

/** Bars on a terminal, a line for each layer that begins or ends elsewhere. */
export async function openProgress(stream: NodeJS.WriteStream): Promise<ProgressDisplay> {
  return isTerminal(stream) ? ProgressBars.open(stream) : new ProgressLines(stream);
}

/** `3f4ca61aafcd`: what tells layers apart for a person. */
function shortDigest(digest: Digest): string {
  return digest.slice('sha256:'.length, 'sha256:'.length + 12);
}

class ProgressBars implements ProgressDisplay {
  readonly #bars = new Map<Digest, SingleBar>();
  readonly #all: MultiBar;
  readonly #stream: NodeJS.WriteStream;

  private constructor(all: MultiBar, stream: NodeJS.WriteStream) {
    this.#all = all;
    this.#stream = stream;
  }

  static async open(stream: NodeJS.WriteStream): Promise<ProgressBars> {
    const [{ default: progress }, { default: colors }] = await Promise.all([
      import('cli-progress'),
      import('picocolors'),
    ]);
    const all = new progress.MultiBar({
      stream,
      hideCursor: true,
      clearOnComplete: false,
      // A note is written where the bars were: they must be drawn again below it, changed or not.
      forceRedraw: true,
      // Ours, for the first signal.
      gracefulExit: false,
      fps: 10,
      barsize: 30,
      format: `${colors.cyan('{layer}')} {bar} {size}  {word}`,
      barCompleteChar: '━',
      barIncompleteChar: '─',
      barGlue: '',
    });
    return new ProgressBars(all, stream);
  }

  update({ digest, phase, bytes, totalBytes }: PullProgress): void {
    const size = formatBytes(totalBytes).padStart(8);
    const payload = { layer: shortDigest(digest), size, word: WORDS[phase] };
    let bar = this.#bars.get(digest);
    if (bar === undefined) {
      // A bar without a length cannot be drawn full.
      bar = this.#all.create(Math.max(totalBytes, 1), 0, payload);
      this.#bars.set(digest, bar);
    }
    bar.update(
      totalBytes === 0 && bytes === 0 && (phase === 'done' || phase === 'exists') ? 1 : bytes,
      payload,
    );
  }

  note(line: string): void {
    if (this.#all.isActive) this.#all.log(`${line}\n`);
    else this.#stream.write(`${line}\n`);
  }

  stop(): void {
    if (!this.#all.isActive) return;
    // Notes that are still to be drawn.
    this.#all.update();
    this.#all.stop();
  }
}

class ProgressLines implements ProgressDisplay {
  readonly #stream: NodeJS.WriteStream;
  readonly #phases = new Map<Digest, PullProgress['phase']>();

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  update({ digest, phase, totalBytes }: PullProgress): void {
    if (this.#phases.get(digest) === phase) return;
    this.#phases.set(digest, phase);
    if (phase === 'waiting' || phase === 'extracting') return;
    const line = `${shortDigest(digest)}: ${WORDS[phase]}`;
    this.#stream.write(`${line}${phase === 'exists' ? '' : ` (${formatBytes(totalBytes)})`}\n`);
  }

  note(line: string): void {
    this.#stream.write(`${line}\n`);
  }

  stop(): void {}
}
