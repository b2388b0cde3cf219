import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';

/** Where everything large of the benchmark lies: below CAIS_CACHE_DIR (default ~/.cache/cais), never in the clone. */
export function benchCacheDirectory() {
  return join(process.env['CAIS_CACHE_DIR'] ?? join(homedir(), '.cache/cais'), 'bench');
}

/**
 * Makes the directory `path` as a whole or not at all: `make` fills a private directory beside it, which a rename publishes. What was there before
 * goes away; so do private directories of processes that were killed.
 * @param {string} path
 * @param {(privateDirectory: string) => Promise<void>} make
 */
export async function publishDirectory(path, make) {
  mkdirSync(dirname(path), { recursive: true });
  for (const name of readdirSync(dirname(path))) {
    const pid = name.startsWith(`${basename(path)}.making-`) ? Number(name.split('-').at(-1)) : 0;
    if (pid !== 0 && !existsSync(`/proc/${pid}`)) {
      rmSync(join(dirname(path), name), { recursive: true, force: true });
    }
  }
  const privateDirectory = `${path}.making-${process.pid}`;
  rmSync(privateDirectory, { recursive: true, force: true });
  mkdirSync(privateDirectory);
  try {
    await make(privateDirectory);
    rmSync(path, { recursive: true, force: true });
    renameSync(privateDirectory, path);
  } finally {
    rmSync(privateDirectory, { recursive: true, force: true });
  }
}
