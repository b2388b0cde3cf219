import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where what this suite builds lies: below CAIS_CACHE_DIR (default ~/.cache/cais), never in the clone. */
export function conformanceCache() {
  return join(process.env['CAIS_CACHE_DIR'] ?? join(homedir(), '.cache/cais'), 'conformance');
}

/**
 * Short name of everything that a cached thing is made from: texts, and the contents of files.
 * @param {{ readonly texts?: readonly string[], readonly files: readonly string[] }} from absolute paths
 */
export function recipeHash({ texts = [], files }) {
  const hash = createHash('sha256');
  hash.update(JSON.stringify(texts));
  for (const path of files) hash.update(createHash('sha256').update(readFileSync(path)).digest());
  return hash.digest('hex').slice(0, 16);
}
