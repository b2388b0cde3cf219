import { open, readdir } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { describeError, InvalidArgumentError } from '../../errors.js';
import { type CniNetworkList, parseNetworkList, parsePlugin } from './network-list.js';

const MAX_FILE_BYTES = 1 << 20;

/** What a directory of network configurations says now. */
export interface CniConfiguration {
  /** The first valid one, by file name. */
  readonly network?: CniNetworkList;
  /** Sentences about files that are no configuration. */
  readonly problems: readonly string[];
}

/**
 * Reads the directory anew: files come and go with the network's own pods. Files ending in `.conflist`, `.conf` and `.json` count, in the order of
 * their names; the first valid one is the network of all pods. No directory is an empty one.
 */
export async function readConfiguration(directory: string): Promise<CniConfiguration> {
  const problems: string[] = [];
  for (const name of await fileNames(directory, ['.conflist', '.conf', '.json'])) {
    const path = join(directory, name);
    try {
      const list = parseNetworkList(await readBounded(path), {
        single: extname(name) !== '.conflist',
      });
      return { network: await withFurtherPlugins(list, directory), problems };
    } catch (error) {
      problems.push(`"${path}": ${describeError(error)}`);
    }
  }
  return { problems };
}

/** Appends the plugins of `<directory>/<network>/*.conf`. @see CNI specification 1.1, "loadOnlyInlinedPlugins" */
async function withFurtherPlugins(
  list: CniNetworkList,
  directory: string,
): Promise<CniNetworkList> {
  if (!list.takesFurtherPlugins) return list;
  const plugins = [...list.plugins];
  const further = join(directory, list.name);
  for (const name of await fileNames(further, ['.conf'])) {
    try {
      plugins.push(parsePlugin(await readBounded(join(further, name))));
    } catch (error) {
      // Pods without one of their plugins, a firewall perhaps, are worse than none.
      throw new InvalidArgumentError(`"${join(further, name)}": ${describeError(error)}`);
    }
  }
  return { ...list, plugins };
}

async function fileNames(directory: string, endings: readonly string[]): Promise<string[]> {
  try {
    const names = await readdir(directory);
    return names.filter((name) => endings.includes(extname(name))).sort();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw error;
  }
}

async function readBounded(path: string): Promise<string> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    if (size > MAX_FILE_BYTES) {
      throw new InvalidArgumentError(`larger than ${MAX_FILE_BYTES} bytes`);
    }
    const { bytesRead, buffer } = await file.read(Buffer.alloc(MAX_FILE_BYTES));
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}
