import { mkdir, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

/**
 * Makes a directory and those above it that are missing; for paths that come from outside. Node's own `recursive` never returns, and keeps a thread busy,
 * where a file system refuses new directories by ENOENT, as procfs does.
 * @returns the first one that it made; undefined when all were there
 * @throws what mkdir(2) says: `EEXIST` when something else is there
 */
export async function makeDirectories(path: string, mode: number): Promise<string | undefined> {
  const full = resolve(path);
  let first: string | undefined;
  try {
    return (await makeOne(full, mode)) ? full : undefined;
  } catch (error) {
    const parent = dirname(full);
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || parent === full) throw error;
    first = await makeDirectories(parent, mode);
  }
  return (await makeOne(full, mode)) ? (first ?? full) : first;
}

/** False: it was there. */
async function makeOne(path: string, mode: number): Promise<boolean> {
  try {
    await mkdir(path, mode);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    const found = await stat(path).catch(() => undefined);
    if (found?.isDirectory() !== true) throw error;
    return false;
  }
}
