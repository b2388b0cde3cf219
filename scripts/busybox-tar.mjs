import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const BUSYBOX = '/bin/busybox';
const PASSWD = 'root:x:0:0:root:/root:/bin/sh\nanna:x:1000:1000::/tmp:/bin/sh\n';
const GROUP = 'root:x:0:\nanna:x:1000:\nwheel:x:10:anna\n';

/**
 * Tar of a small system, made on the spot: Debian's static busybox under every name it has, and two users.
 * @returns {Buffer}
 */
export function busyboxTar() {
  const root = mkdtempSync(join(tmpdir(), 'cais-busybox-'));
  try {
    for (const name of ['bin', 'etc', 'tmp', 'root', 'proc', 'sys', 'dev']) {
      mkdirSync(join(root, name), { mode: 0o755 });
    }
    chmodSync(root, 0o755);
    chmodSync(join(root, 'tmp'), 0o1777);
    chmodSync(join(root, 'root'), 0o700);
    copyFileSync(BUSYBOX, join(root, 'bin/busybox'));
    chmodSync(join(root, 'bin/busybox'), 0o755);
    for (const name of execFileSync(BUSYBOX, ['--list'], { encoding: 'utf8' }).trim().split('\n')) {
      if (name !== 'busybox') symlinkSync('busybox', join(root, 'bin', name));
    }
    writeFileSync(join(root, 'etc/passwd'), PASSWD, { mode: 0o644 });
    writeFileSync(join(root, 'etc/group'), GROUP, { mode: 0o644 });
    return tarDirectory(root, ['--owner=0', '--group=0', '--mtime=@1767225600']);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

/**
 * Tar of a directory as it is on disk, in a stable order.
 * @param {string} directory
 * @param {readonly string[]} [args] further arguments of tar
 * @returns {Buffer}
 */
export function tarDirectory(directory, args = []) {
  return execFileSync(
    'tar',
    ['-C', directory, '--sort=name', '--numeric-owner', '--xattrs', ...args, '-c', '.'],
    { maxBuffer: 2 ** 30 },
  );
}
