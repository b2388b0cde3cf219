import type { Readable } from 'node:stream';
import { InvalidArgumentError } from '../errors.js';

/** Whether lines may be redrawn there. */
export function isTerminal(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY === true && process.env['TERM'] !== 'dumb';
}

/** Text of unknown origin for a terminal or a list: control characters, which could move the cursor or hide lines, become `\uFFFD`. */
export function printable(text: string): string {
  return text.trim().replace(/[\p{Cc}\p{Cf}]/gu, (one) => ('\n\t'.includes(one) ? one : '\uFFFD'));
}

const MAX_INPUT_BYTES = 64 * 1024;

/** Reads the whole of a stream as text, without the line end at its end. @throws InvalidArgumentError when it is longer than a secret can be. */
export async function readInput(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream) {
    const bytes = Buffer.from(chunk as Buffer);
    length += bytes.byteLength;
    if (length > MAX_INPUT_BYTES)
      throw new InvalidArgumentError(`Standard input has more than ${MAX_INPUT_BYTES} bytes`);
    chunks.push(bytes);
  }
  return Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '');
}

export interface AskOptions {
  readonly input: NodeJS.ReadStream;
  readonly output: NodeJS.WriteStream;
  readonly signal: AbortSignal;
  /** Shows nothing of what is typed. */
  readonly isSecret?: boolean;
}

/** Asks a person at a terminal for one line. @throws the reason of `signal`. */
export async function ask(
  question: string,
  { input, output, signal, isSecret = false }: AskOptions,
): Promise<string> {
  const { createInterface } = await import('node:readline/promises');
  const { Writable } = await import('node:stream');
  output.write(question);
  // readline echoes through its output: for a secret that leads nowhere.
  const echo = isSecret ? new Writable({ write: (_chunk, _encoding, done) => done() }) : output;
  const lines = createInterface({ input, output: echo, terminal: true });
  // In raw mode Ctrl-C is a key.
  lines.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  try {
    return await lines.question('', { signal });
  } finally {
    lines.close();
    if (isSecret) output.write('\n');
  }
}
