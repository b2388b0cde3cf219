import { RuntimeError } from '../errors.js';

/**
 * Records of the supervisor protocol: a sequence of fields `u16 tag | u16 zero | u32 length | bytes`, little-endian.
 * @see native/supervisor/PROTOCOL.md, "Encoding"
 */

/** Bytes that are no record, or a record that says what this version does not know (`PROTOCOL`). */
export class ProtocolError extends RuntimeError {
  constructor(message: string) {
    super('PROTOCOL', message);
  }
}

/** From this tag on an unknown field is skipped, below it is refused. */
export const FIRST_OPTIONAL_TAG = 0x8000;

const FIELD_HEADER_BYTES = 8;

/** Collects fields in order; {@link RecordWriter.finish} gives the bytes. */
export class RecordWriter {
  readonly #chunks: Buffer[] = [];

  /** An integer in the signed 64-bit range. @throws ProtocolError for anything else. */
  number(tag: number, value: number | bigint): this {
    const body = Buffer.allocUnsafe(8);
    try {
      body.writeBigInt64LE(BigInt(value));
    } catch {
      throw new ProtocolError(`Field ${tag}: ${value} is no signed 64-bit integer`);
    }
    return this.bytes(tag, body);
  }

  boolean(tag: number, value: boolean): this {
    return this.number(tag, value ? 1 : 0);
  }

  /** @throws ProtocolError for a NUL or a lone surrogate: the supervisor would see another string than the caller meant. */
  string(tag: number, value: string): this {
    if (value.includes('\0')) throw new ProtocolError(`Field ${tag}: a string holds a NUL byte`);
    const body = Buffer.from(value, 'utf8');
    if (body.toString('utf8') !== value) {
      throw new ProtocolError(`Field ${tag}: a string is not valid Unicode`);
    }
    return this.bytes(tag, body);
  }

  bytes(tag: number, value: Uint8Array): this {
    const header = Buffer.allocUnsafe(FIELD_HEADER_BYTES);
    header.writeUInt16LE(tag, 0);
    header.writeUInt16LE(0, 2);
    header.writeUInt32LE(value.byteLength, 4);
    this.#chunks.push(header, Buffer.from(value.buffer, value.byteOffset, value.byteLength));
    return this;
  }

  /** A record inside this one. */
  nested(tag: number, fill: (writer: RecordWriter) => void): this {
    const inner = new RecordWriter();
    fill(inner);
    return this.bytes(tag, inner.finish());
  }

  finish(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}

/** A field as it lies in a record; the bytes are a view. */
export interface RecordField {
  readonly tag: number;
  readonly bytes: Buffer;
}

/**
 * A record taken apart. Asking for a field marks its tag as known; {@link RecordReader.done} then refuses what nobody asked for.
 * @throws ProtocolError from the constructor when the bytes are not a whole sequence of fields.
 */
export class RecordReader {
  readonly #fields: RecordField[] = [];
  readonly #known = new Set<number>();

  constructor(record: Uint8Array) {
    const bytes = Buffer.from(record.buffer, record.byteOffset, record.byteLength);
    let offset = 0;
    while (offset < bytes.length) {
      if (bytes.length - offset < FIELD_HEADER_BYTES) {
        throw new ProtocolError('A record ends inside a field header');
      }
      const tag = bytes.readUInt16LE(offset);
      const length = bytes.readUInt32LE(offset + 4);
      if (bytes.readUInt16LE(offset + 2) !== 0) {
        throw new ProtocolError(`Field ${tag}: reserved bytes are not zero`);
      }
      offset += FIELD_HEADER_BYTES;
      if (bytes.length - offset < length) {
        throw new ProtocolError(`Field ${tag}: ${length} bytes announced, the record ends earlier`);
      }
      this.#fields.push({ tag, bytes: bytes.subarray(offset, offset + length) });
      offset += length;
    }
  }

  /** All fields in order, for tools that print a record. */
  get fields(): readonly RecordField[] {
    return this.#fields;
  }

  bigint(tag: number): bigint | undefined {
    const bytes = this.#last(tag);
    if (bytes === undefined) return undefined;
    if (bytes.length !== 8) throw new ProtocolError(`Field ${tag}: expected a number of 8 bytes`);
    return bytes.readBigInt64LE();
  }

  /** @throws ProtocolError when the value is no safe integer. */
  number(tag: number): number | undefined {
    const value = this.bigint(tag);
    if (value === undefined) return undefined;
    if (!Number.isSafeInteger(Number(value))) {
      throw new ProtocolError(`Field ${tag}: ${value} is too large`);
    }
    return Number(value);
  }

  boolean(tag: number): boolean | undefined {
    const value = this.bigint(tag);
    return value === undefined ? undefined : value !== 0n;
  }

  string(tag: number): string | undefined {
    return this.#last(tag)?.toString('utf8');
  }

  bytes(tag: number): Buffer | undefined {
    return this.#last(tag);
  }

  strings(tag: number): string[] {
    return this.#all(tag).map((bytes) => bytes.toString('utf8'));
  }

  records(tag: number): RecordReader[] {
    return this.#all(tag).map((bytes) => new RecordReader(bytes));
  }

  /** @throws ProtocolError when a field below {@link FIRST_OPTIONAL_TAG} was never asked for. */
  done(): void {
    for (const { tag } of this.#fields) {
      if (tag < FIRST_OPTIONAL_TAG && !this.#known.has(tag)) {
        throw new ProtocolError(`Unknown field ${tag}`);
      }
    }
  }

  #last(tag: number): Buffer | undefined {
    this.#known.add(tag);
    return this.#fields.filter((field) => field.tag === tag).at(-1)?.bytes;
  }

  #all(tag: number): Buffer[] {
    this.#known.add(tag);
    return this.#fields.filter((field) => field.tag === tag).map((field) => field.bytes);
  }
}
