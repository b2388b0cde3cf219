import { RuntimeError } from '../errors.js';

const BLOCK_BYTES = 512;
/** Eleven octal digits. */
const MAX_OCTAL_SIZE = 8 ** 11 - 1;

/** Where a tar goes: resolves when more may be written. */
export type TarSink = (bytes: Uint8Array) => Promise<void>;

/** Writes a tar of regular files with short names, the same bytes for the same content: owner root, mode 0644, mtime 0. */
export class TarWriter {
  readonly #sink: TarSink;

  constructor(sink: TarSink) {
    this.#sink = sink;
  }

  /** Adds a file of `sizeBytes`. @throws RuntimeError `SIZE_MISMATCH` when `chunks` has another length: the tar is then useless. */
  async add(
    name: string,
    {
      sizeBytes,
      chunks,
    }: {
      readonly sizeBytes: number;
      readonly chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
    },
  ): Promise<void> {
    await this.#sink(header(name, sizeBytes));
    let written = 0;
    for await (const chunk of chunks) {
      written += chunk.byteLength;
      await this.#sink(chunk);
    }
    if (written !== sizeBytes) {
      throw new RuntimeError(
        'SIZE_MISMATCH',
        `"${name}" has ${written} bytes, expected ${sizeBytes}`,
      );
    }
    await this.#sink(Buffer.alloc((BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES));
  }

  addText(name: string, text: string): Promise<void> {
    const bytes = Buffer.from(text);
    return this.add(name, { sizeBytes: bytes.byteLength, chunks: [bytes] });
  }

  /** Writes the end marker. */
  async finish(): Promise<void> {
    await this.#sink(Buffer.alloc(2 * BLOCK_BYTES));
  }
}

/** @see POSIX.1-2017, pax, "ustar Interchange Format" */
function header(name: string, sizeBytes: number): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  const octal = (value: number, length: number) =>
    `${value.toString(8).padStart(length - 1, '0')}\0`;
  block.write(name, 0, 100);
  block.write(octal(0o644, 8) + octal(0, 8) + octal(0, 8), 100);
  if (sizeBytes <= MAX_OCTAL_SIZE) block.write(octal(sizeBytes, 12), 124);
  else {
    // GNU's base-256 form; every reader of today knows it.
    block.writeBigUInt64BE(BigInt(sizeBytes), 128);
    block[124] = 0x80;
  }
  block.write(octal(0, 12), 136);
  block.write('        0', 148);
  block.write('ustar\x0000root', 257);
  block.write('root', 297);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}
