import { SpdyProtocolError } from './spdy-frames.js';

/** Name, in lower case → value; several values of one name are separated by NUL. */
export type SpdyHeaders = ReadonlyMap<string, string>;

/** A count, and in each entry two lengths. */
const NUMBER_BYTES = 4;

/**
 * Reads an inflated header block. Counts and lengths are checked against the bytes there are before anything is made from them.
 * @throws SpdyProtocolError
 * @see SPDY Protocol, Draft 3, section 2.6.10 "Name/Value Header Block"
 */
export function decodeHeaderBlock(block: Buffer): SpdyHeaders {
  let offset = 0;
  const readNumber = (): number => {
    if (block.length - offset < NUMBER_BYTES) throw badBlock('it ends too early');
    offset += NUMBER_BYTES;
    return block.readUInt32BE(offset - NUMBER_BYTES);
  };
  const readText = (): string => {
    const length = readNumber();
    if (length > block.length - offset) {
      throw badBlock(`a text of ${length} bytes where ${block.length - offset} are left`);
    }
    offset += length;
    return block.toString('latin1', offset - length, offset);
  };
  const count = readNumber();
  if (count * 2 * NUMBER_BYTES > block.length - offset) {
    throw badBlock(`${count} headers in ${block.length} bytes`);
  }
  const headers = new Map<string, string>();
  for (let index = 0; index < count; index++) {
    const name = readText();
    const value = readText();
    if (name === '' || name !== name.toLowerCase()) {
      throw badBlock('a name is empty or not in lower case');
    }
    if (headers.has(name)) throw badBlock('a name comes twice');
    headers.set(name, value);
  }
  if (offset !== block.length) {
    throw badBlock(`${block.length - offset} bytes follow the last header`);
  }
  return headers;
}

function badBlock(why: string): SpdyProtocolError {
  return new SpdyProtocolError(`Bad SPDY header block: ${why}`);
}
