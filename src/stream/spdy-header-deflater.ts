import { SPDY_HEADER_DICTIONARY_ID } from './spdy-header-dictionary.js';

/** CMF and FLG of a zlib stream with a window of 32 KiB and a preset dictionary, a multiple of 31 (RFC 1950 section 2.2). */
const ZLIB_HEAD = 0x7820;

/** An empty stored block: readers hand on what they have when they meet it, so each header block ends with one. */
const SYNC_FLUSH = Buffer.from([0, 0, 0, 0xff, 0xff]);

/**
 * Writes the header blocks of one direction of a connection. All that a server ever says in one is that it has no headers, so
 * each block is sent stored, which every inflater reads and which costs no compression context (RFC 1951 section 3.2.4).
 */
export class SpdyHeaderDeflater {
  #hasBegun = false;

  /** The next block without headers, in the order of sending. */
  encodeEmpty(): Buffer {
    const stored = Buffer.alloc(9);
    stored.writeUInt16LE(4, 1);
    stored.writeUInt16LE(~4 & 0xffff, 3);
    const head = this.#hasBegun ? [] : [encodeZlibHead()];
    this.#hasBegun = true;
    return Buffer.concat([...head, stored, SYNC_FLUSH]);
  }
}

function encodeZlibHead(): Buffer {
  const head = Buffer.alloc(6);
  head.writeUInt16BE(ZLIB_HEAD, 0);
  head.writeUInt32BE(SPDY_HEADER_DICTIONARY_ID, 2);
  return head;
}
