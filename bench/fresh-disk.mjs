import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { benchCacheDirectory } from './cache.mjs';
import { removeAbandonedCgroups } from './cgroup.mjs';
import { runCommand } from './command.mjs';

/** Enough for what the largest workload takes in the store of any peer, several times over. */
const DISK_BYTES = 16 * 2 ** 30;

/** A few times the entries of the largest workload. Each inode is 256 bytes of table that mkfs clears. */
const INODES = 300_000;

/**
 * EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH: from then on the file system writes nothing any more. Perl is part of every Debian, and
 * unlike Node it can ask for an ioctl.
 * @see linux/fs/ext4/ext4.h
 */
const SHUT_DOWN = `open(my $root, "<", $ARGV[0]) or die "open: $!";
my $flags = pack("L", 2);
defined(ioctl($root, 0x8004587d, $flags)) or die "ioctl: $!";`;

const DEVICE_TIMEOUT_MS = 3000;
const POLL_MS = 5;

let lastNumber = 0;

/**
 * A new ext4 in a file of the cache, mounted by a loop device: every run begins on the same disk, which nothing was deleted from. What was written
 * and not read back is cached once, since the loop device passes by the page cache of the file below.
 *
 * `close` throws the content away, unwritten where it still is, and waits until the device has taken its last write, so that no run pays for the one
 * before. Closing twice is fine.
 * @returns {Promise<{ directory: string, close: () => Promise<void> }>}
 */
export async function openFreshDisk() {
  const parent = join(benchCacheDirectory(), 'disks');
  mkdirSync(parent, { recursive: true });
  await removeAbandoned(parent);

  lastNumber += 1;
  const home = join(parent, `${process.pid}-${lastNumber}`);
  const directory = join(home, 'fs');
  mkdirSync(directory, { recursive: true });
  try {
    await makeFileSystem(join(home, 'disk'));
    await mountFile(join(home, 'disk'), directory);
  } catch (error) {
    await removeDisk(home);
    throw error;
  }
  /** @type {Promise<void> | undefined} */
  let closing;
  return {
    directory,
    close: () => {
      closing ??= removeDisk(home);
      return closing;
    },
  };
}

/** @param {string} path */
async function makeFileSystem(path) {
  const fd = openSync(path, 'wx', 0o600);
  try {
    ftruncateSync(fd, DISK_BYTES);
  } finally {
    closeSync(fd);
  }
  // Lazy initialisation would go on in the background while something is measured. The file has holes, so most of the clearing is nothing.
  const extended = 'lazy_itable_init=0,lazy_journal_init=0';
  await runCommand('mkfs.ext4', [
    '-q',
    '-F',
    '-m',
    '0',
    '-N',
    String(INODES),
    '-E',
    extended,
    path,
  ]);
  // Only now, since mkfs discards what it is given: then writing does not have to allocate below as well.
  await runCommand('fallocate', ['--length', String(DISK_BYTES), path]);
}

/**
 * @param {string} path
 * @param {string} directory
 */
async function mountFile(path, directory) {
  const attach = ['--find', '--show', path];
  // Some file systems cannot do direct I/O; then the data is cached twice.
  const device = await runCommand('losetup', ['--direct-io=on', ...attach]).catch(() =>
    runCommand('losetup', attach),
  );
  try {
    await runCommand('mount', ['-t', 'ext4', device.trim(), directory]);
  } finally {
    // A device in use is detached when it is no longer used: unmounting is enough then, whoever does it.
    await runCommand('losetup', ['--detach', device.trim()]);
  }
}

/** @param {string} home */
async function removeDisk(home) {
  const directory = join(home, 'fs');
  if (mountsBelow(directory).includes(directory)) {
    // Saves the writing of what is deleted in a moment; without it unmounting writes everything.
    await runCommand('perl', ['-e', SHUT_DOWN, directory]).catch(() => undefined);
  }
  // What a contestant mounted in there and did not unmount comes first.
  for (const mountpoint of mountsBelow(directory).reverse()) {
    await runCommand('umount', [mountpoint]).catch(async (error) => {
      // Somebody still uses it. Detached, it at least goes away with them.
      await runCommand('umount', ['--lazy', mountpoint]);
      throw new Error(`Cannot unmount "${mountpoint}", it is only detached: ${error.message}`);
    });
  }
  await waitForDevice(join(home, 'disk'));
  rmSync(home, { recursive: true, force: true });
}

/**
 * Waits until no loop device uses the file. A mount namespace of a contestant keeps its copies of the mounts for a moment after its last process; a
 * foreign one may keep them for as long as it lives, which harms nobody, since nothing is written any more.
 * @param {string} path
 */
async function waitForDevice(path) {
  const deadline = performance.now() + DEVICE_TIMEOUT_MS;
  while (isInUse(path) && performance.now() < deadline) await delay(POLL_MS);
}

/** @param {string} path */
function isInUse(path) {
  return readdirSync('/sys/block').some((name) => {
    if (!name.startsWith('loop')) return false;
    try {
      return readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').trim() === path;
    } catch {
      return false; // It is free.
    }
  });
}

/**
 * Removes the disks of runs that were killed.
 * @param {string} parent
 */
async function removeAbandoned(parent) {
  // Their processes first, since these may use the disks.
  await removeAbandonedCgroups();
  for (const name of readdirSync(parent)) {
    if (existsSync(`/proc/${name.split('-')[0]}`)) continue;
    // Another benchmark may be at it too; what stays now goes the next time.
    await removeDisk(join(parent, name)).catch(() => undefined);
  }
}

/**
 * Mount points at or below a directory, in the order in which they were mounted.
 * @param {string} directory
 */
function mountsBelow(directory) {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) =>
      // proc(5): space, tab, newline and backslash are written as octal.
      (line.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_, octal) =>
        String.fromCharCode(Number.parseInt(octal, 8)),
      ),
    )
    .filter((mountpoint) => mountpoint === directory || mountpoint.startsWith(`${directory}/`));
}
