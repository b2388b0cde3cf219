/** Each stands in the dictionary behind its length, as in a header block. */
const WORDS =
  'options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow ' +
  'authorization cache-control connection content-base content-encoding content-language content-length content-location ' +
  'content-md5 content-range content-type date etag expect expires from host if-match if-modified-since if-none-match if-range ' +
  'if-unmodified-since last-modified location max-forwards pragma proxy-authenticate proxy-authorization range referer ' +
  'retry-after server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get status ' +
  '200|OK version HTTP/1.1 url public set-cookie keep-alive origin';

/** Bare text behind the words. */
const TAIL =
  '100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505' +
  '203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden' +
  '404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable' +
  'Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT' +
  'chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,' +
  'publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.';

/**
 * The preset dictionary with which both sides of SPDY/3 begin to compress header blocks: 1423 bytes, a constant of the protocol.
 * @see SPDY Protocol, Draft 3, section 2.6.10.1 "Compression"
 */
export const SPDY_HEADER_DICTIONARY: Buffer = Buffer.concat([
  ...WORDS.split(' ').map((word) => lengthPrefixed(word.replace('|', ' '))),
  Buffer.from(TAIL, 'latin1'),
]);

/** Adler-32 of the dictionary, by which a zlib stream names it (RFC 1950 section 2.2). */
export const SPDY_HEADER_DICTIONARY_ID = 0xe3c6a7c2;

function lengthPrefixed(word: string): Buffer {
  const bytes = Buffer.alloc(4 + word.length);
  bytes.writeUInt32BE(word.length);
  bytes.write(word, 4, 'latin1');
  return bytes;
}
