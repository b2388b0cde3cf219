import { open, readFile } from 'node:fs/promises';
import { FailedPreconditionError, InvalidArgumentError } from '../errors.js';
import type { BindMount } from './container-config.js';

/** O_PATH of <fcntl.h>, which node does not name: the file is only pointed at, so a FIFO or device is not opened. */
const O_PATH = 0o10_000_000;
/** A machine with tens of thousands of mounts; more is refused. */
const MOUNT_TABLE_MAX_BYTES = 32 * 2 ** 20;

/** One line of a mount table, as far as propagation goes. @see proc_pid_mountinfo(5) */
export interface MountEntry {
  readonly id: number;
  readonly mountPoint: string;
  /** Sends and receives mounts and unmounts. */
  readonly isShared: boolean;
  /** Receives them. */
  readonly isSlave: boolean;
}

/**
 * Checks that mounts on the host's side of a bind mount can reach the container, and back, as its propagation wants: the kernel would make the bind
 * mount without a word, and nothing would ever arrive.
 * @throws FailedPreconditionError naming the mount of the host and what to do; InvalidArgumentError when the path cannot be used.
 */
export async function checkPropagation(
  mount: Pick<BindMount, 'hostPath' | 'containerPath' | 'propagation'>,
): Promise<void> {
  const { hostPath, propagation = 'private' } = mount;
  if (propagation === 'private') return;
  const what = `mount "${mount.containerPath}"`;
  const entry = await mountOf(hostPath, what);
  if (entry.isShared || (propagation === 'hostToContainer' && entry.isSlave)) return;
  const wanted = propagation === 'bidirectional' ? 'a shared mount' : 'a shared or slave mount';
  throw new FailedPreconditionError(
    `${what}: ${propagation} propagation needs ${wanted}, but "${hostPath}" of the host lies on "${entry.mountPoint}", which is ${entry.isSlave ? 'a slave' : 'private'}: run "mount --make-rshared ${entry.mountPoint}" on the host, or ask for another propagation`,
  );
}

/** The mount that holds a path of the host, links followed. By its id, since paths may be mounted over. */
async function mountOf(path: string, what: string): Promise<MountEntry> {
  let id: number;
  try {
    const file = await open(path, O_PATH);
    try {
      id = mountIdOf(await readFile(`/proc/self/fdinfo/${file.fd}`, 'utf8'));
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new InvalidArgumentError(`${what}: cannot use "${path}" of the host`, { cause });
  }
  const table = await readFile('/proc/self/mountinfo', 'utf8');
  const entry = parseMountTable(table).find((each) => each.id === id);
  if (entry === undefined) {
    throw new FailedPreconditionError(
      `${what}: "${path}" of the host lies on a mount that this process does not see`,
    );
  }
  return entry;
}

function mountIdOf(fdinfo: string): number {
  const id = /^mnt_id:\s*(\d+)$/m.exec(fdinfo)?.[1];
  if (id === undefined) throw new Error('The kernel names no mount of the descriptor');
  return Number(id);
}

/**
 * Parses /proc/PID/mountinfo; malformed lines are skipped.
 * @throws FailedPreconditionError when the table is larger than 32 MiB.
 */
export function parseMountTable(text: string): MountEntry[] {
  if (text.length > MOUNT_TABLE_MAX_BYTES) {
    throw new FailedPreconditionError('The mount table of this machine is larger than 32 MiB');
  }
  return text.split('\n').flatMap((line) => {
    const fields = line.split(' ');
    const [id = '', , , , mountPoint] = fields;
    const end = fields.indexOf('-', 6);
    if (!/^\d+$/.test(id) || mountPoint === undefined || end < 0) return [];
    const optional = fields.slice(6, end);
    return [
      {
        id: Number(id),
        mountPoint: unescaped(mountPoint),
        isShared: optional.some((field) => field.startsWith('shared:')),
        isSlave: optional.some((field) => field.startsWith('master:')),
      },
    ];
  });
}

/** The kernel writes space, tab, newline and backslash as three octal digits. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
