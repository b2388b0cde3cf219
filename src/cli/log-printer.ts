import { once } from 'node:events';
import pc from 'picocolors';
import type { PodLogEntry } from '../pod/pod-logs.js';

const NEWLINE = Buffer.from('\n');

export interface LogPrinterOptions {
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  /** Containers of which lines will come; prefixes are as wide as the longest. Empty: no prefix. */
  readonly containers: readonly string[];
  readonly timestamps?: boolean;
}

/** Prints lines of containers, each behind the container's name (in a colour of its own on a terminal), to the stream they came from. */
export class LogPrinter {
  readonly #options: LogPrinterOptions;
  readonly #prefixes: ReadonlyMap<string, string>;

  constructor(options: LogPrinterOptions) {
    this.#options = options;
    const { containers, stdout } = options;
    const colors = pc.createColors(stdout.isTTY === true && pc.isColorSupported);
    const palette = [colors.cyan, colors.yellow, colors.green, colors.magenta, colors.blue];
    const width = Math.max(0, ...containers.map((name) => name.length));
    this.#prefixes = new Map(
      containers.map((name, index) => {
        const paint = palette[index % palette.length] ?? String;
        return [name, `${paint(`${name.padEnd(width)} |`)} `];
      }),
    );
  }

  /** Settles when the stream takes more: a slow reader slows us down, not the container. */
  async print({ container, stream, text, timestamp }: PodLogEntry): Promise<void> {
    const { timestamps } = this.#options;
    const to = this.#options[stream];
    const head = (this.#prefixes.get(container) ?? '') + (timestamps ? `${timestamp} ` : '');
    const isTaken = to.write(Buffer.concat([Buffer.from(head), text, NEWLINE]));
    // A stream that nobody reads any more is destroyed and drains never.
    if (!isTaken && !to.destroyed) await Promise.race([once(to, 'drain'), once(to, 'close')]);
  }
}
