import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { HostsFileError } from './hosts-file.js';

const MAX_FILE_BYTES = 1 << 20;

/** Text of a file of bounded size; undefined when there is none. @throws HostsFileError */
export async function readHostsFile(path: string): Promise<string | undefined> {
  try {
    // A pipe under this name must not hold a thread.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = await file.stat();
      if (!stats.isFile()) throw new HostsFileError(path, 'it is no file');
      const buffer = Buffer.alloc(MAX_FILE_BYTES + 1);
      const { bytesRead } = await file.read(buffer, 0, buffer.byteLength, 0);
      if (bytesRead > MAX_FILE_BYTES) {
        throw new HostsFileError(path, `it is larger than ${MAX_FILE_BYTES} bytes`);
      }
      return buffer.toString('utf8', 0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof HostsFileError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw new HostsFileError(path, code ?? message, error);
  }
}
