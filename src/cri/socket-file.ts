import { execFile } from 'node:child_process';
import { chmod, chown, lstat, mkdtemp, readFile, rename, rm, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { makeDirectories } from '../directories.js';
import {
  AlreadyExistsError,
  FailedPreconditionError,
  InvalidArgumentError,
  NotFoundError,
} from '../errors.js';

/** Longest path of a unix socket. */
const PATH_MAX_BYTES = 107;
const PROBE_TIMEOUT_MS = 2_000;

/**
 * A unix socket under its final name. It is bound in a private directory, gets its group and mode there, and only then its name: nobody can connect
 * before, and nothing is at the name in between. Close it: the name goes, unless another server has taken it.
 */
export class SocketFile {
  readonly path: string;
  readonly #inode: bigint;

  private constructor(path: string, inode: bigint) {
    this.path = path;
    this.#inode = inode;
  }

  /**
   * Calls `bind` with the path to bind, and gives the socket its name.
   * @param group Name or number of a group that may connect (0660); absent: only the owner (0600).
   * @throws AlreadyExistsError when a server answers at the path; FailedPreconditionError when something that is no socket lies there.
   */
  static async open(
    path: string,
    {
      group,
      bind,
    }: { readonly group?: string | undefined; readonly bind: (path: string) => Promise<void> },
  ): Promise<SocketFile> {
    if (!path.startsWith('/') || Buffer.byteLength(path) > PATH_MAX_BYTES) {
      throw new InvalidArgumentError(
        `Socket "${path}": expected an absolute path of at most ${PATH_MAX_BYTES} bytes`,
      );
    }
    const gid = group === undefined ? undefined : await groupId(group);
    await makeDirectories(dirname(path), 0o755);
    await checkPlace(path);
    // Short, since it counts against the length of socket paths too.
    const directory = await mkdtemp(join(dirname(path), '.c'));
    const temporary = join(directory, 's');
    try {
      if (Buffer.byteLength(temporary) > PATH_MAX_BYTES) {
        throw new InvalidArgumentError(`Socket "${path}": the path of its directory is too long`);
      }
      await bind(temporary);
      if (gid !== undefined) await chown(temporary, process.getuid?.() ?? 0, gid);
      await chmod(temporary, gid === undefined ? 0o600 : 0o660);
      const { ino } = await lstat(temporary, { bigint: true });
      await rename(temporary, path);
      return new SocketFile(path, ino);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  async close(): Promise<void> {
    const found = await lstat(this.path, { bigint: true }).catch(() => undefined);
    if (found?.ino === this.#inode) await unlink(this.path).catch(() => undefined);
  }
}

/** A name is free when nothing is there, or a socket behind which nobody answers: its server was killed. */
async function checkPlace(path: string): Promise<void> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    return undefined;
  });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new FailedPreconditionError(
      `Cannot listen at "${path}": something that is no socket is there; remove it or choose another path`,
    );
  }
  if (await answers(path)) {
    throw new AlreadyExistsError(`Cannot listen at "${path}": another server answers there`);
  }
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const end = (result: boolean) => {
      socket.destroy();
      resolve(result);
    };
    socket.setTimeout(PROBE_TIMEOUT_MS, () => end(true));
    socket.once('connect', () => end(true));
    // A full queue of connections (EAGAIN) is a server too, if a busy one.
    socket.once('error', (error: NodeJS.ErrnoException) =>
      end(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT'),
    );
  });
}

/** Number of a group, from /etc/group or wherever else this machine keeps them. */
async function groupId(group: string): Promise<number> {
  if (/^[0-9]{1,10}$/.test(group)) return Number(group);
  const lines = (await readFile('/etc/group', 'utf8')).split('\n').map((line) => line.split(':'));
  const found = lines.find(([name]) => name === group) ?? (await getent(group));
  if (found?.[2] === undefined) {
    throw new NotFoundError(`The group ${JSON.stringify(group)} of the socket does not exist`);
  }
  return Number(found[2]);
}

function getent(group: string): Promise<string[] | undefined> {
  return new Promise((resolve) => {
    execFile('getent', ['group', '--', group], { timeout: 5_000 }, (error, stdout) =>
      resolve(error === null ? stdout.trim().split(':') : undefined),
    );
  });
}
