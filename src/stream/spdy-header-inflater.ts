import { createInflate, type Inflate } from 'node:zlib';
import { SpdyProtocolError } from './spdy-frames.js';
import { SPDY_HEADER_DICTIONARY } from './spdy-header-dictionary.js';

/** What one header block may inflate to; those of Kubernetes' clients have less than 200 bytes. */
export const MAX_HEADER_BLOCK_BYTES = 64 * 1024;

/** Room for a whole block, so that the stream below never waits for us to read before it says that it is done. */
const HIGH_WATER_MARK = 2 * MAX_HEADER_BLOCK_BYTES;

/** Inflates the header blocks of one direction of a connection, which share one compression context. One call at a time. */
export class SpdyHeaderInflater {
  readonly #inflate: Inflate;
  #pieces: Buffer[] = [];
  #pieceBytes = 0;
  #pending:
    | { readonly resolve: (block: Buffer) => void; readonly reject: (error: Error) => void }
    | undefined;

  constructor() {
    // The types do not know that options of streams are taken too.
    const options = {
      dictionary: SPDY_HEADER_DICTIONARY,
      chunkSize: 4096,
      highWaterMark: HIGH_WATER_MARK,
    };
    this.#inflate = createInflate(options);
    this.#inflate.on('data', (piece: Buffer) => {
      this.#pieceBytes += piece.length;
      if (this.#pieceBytes > MAX_HEADER_BLOCK_BYTES) {
        this.#fail(`it inflates to more than ${MAX_HEADER_BLOCK_BYTES} bytes`);
      } else {
        this.#pieces.push(piece);
      }
    });
    this.#inflate.on('error', (error) => this.#fail(error.message));
    // A block must not end the compressed stream.
    this.#inflate.on('end', () => this.#fail('it ends the compressed stream'));
  }

  /**
   * Inflates the next block, in the order of arrival.
   * @throws SpdyProtocolError for what is no zlib stream with the dictionary of SPDY/3, or too large; every later call fails too.
   */
  inflate(block: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.#inflate.destroyed) return reject(badBlock('the connection is closed'));
      this.#pending = { resolve, reject };
      this.#inflate.write(block, () => {
        // Before the stream has begun to flow it hands a piece on a turn later; reading hands it on now.
        while (this.#inflate.read() !== null);
        this.#pending?.resolve(Buffer.concat(this.#pieces, this.#pieceBytes));
        this.#pending = undefined;
        this.#pieces = [];
        this.#pieceBytes = 0;
      });
    });
  }

  /** Frees the context; a call that is under way fails. Closing twice is fine. */
  close(): void {
    this.#fail('the connection is closed');
  }

  #fail(why: string): void {
    this.#pieces = [];
    this.#inflate.destroy();
    this.#pending?.reject(badBlock(why));
    this.#pending = undefined;
  }
}

function badBlock(why: string): SpdyProtocolError {
  return new SpdyProtocolError(`Cannot inflate a SPDY header block: ${why}`);
}
