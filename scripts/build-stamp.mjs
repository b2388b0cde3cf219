import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * What a product was made from: one hash over the names and contents of its sources and over `facts` (versions of tools).
 * Contents and not times, since a checkout or a copy changes every time stamp.
 * @param {readonly string[]} sources files and directories, which are read recursively
 * @param {readonly string[]} facts
 */
export function sourceHash(sources, facts) {
  const hash = createHash('sha256');
  for (const fact of facts) hash.update(`${fact}\0`);
  for (const source of sources) addToHash(hash, source);
  return hash.digest('hex');
}

/**
 * @param {import('node:crypto').Hash} hash
 * @param {string} path
 */
function addToHash(hash, path) {
  if (statSync(path).isDirectory()) {
    for (const name of readdirSync(path).sort()) addToHash(hash, join(path, name));
  } else {
    const content = readFileSync(path);
    hash.update(`${path}\0${content.length}\0`).update(content);
  }
}

/**
 * Was `stampPath` written for this hash, with every product still there?
 * @param {string} stampPath
 * @param {{ readonly hash: string, readonly products: readonly string[] }} expected
 */
export function isUpToDate(stampPath, { hash, products }) {
  return (
    existsSync(stampPath) &&
    readFileSync(stampPath, 'utf8') === hash &&
    products.every((product) => existsSync(product))
  );
}

/**
 * @param {string} stampPath
 * @param {string} hash
 */
export function writeStamp(stampPath, hash) {
  writeFileSync(stampPath, hash);
}
