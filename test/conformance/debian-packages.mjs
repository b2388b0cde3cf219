import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { runCommand } from './command.mjs';

/**
 * Fetches Debian packages and unpacks them into `directory`, without installing them: two of them may exclude each other, and the
 * machine's own programs stay out of the test images.
 * @param {string} directory made when absent
 * @param {readonly string[]} packages
 */
export async function unpackDebianPackages(directory, packages) {
  const archives = join(directory, '.archives');
  mkdirSync(archives, { recursive: true });
  // As root, apt hands downloads to a user of its own, who cannot write here, and complains.
  const download = ['apt-get', '-q', '-o', 'APT::Sandbox::User=root', 'download', ...packages];
  const first = await runCommand(download, { cwd: archives, mayFail: true });
  if (first.exitCode !== 0) {
    // The machine's lists are absent, or name files that the mirror replaced.
    await runCommand(['apt-get', '-q', '-o', 'DPkg::Lock::Timeout=300', 'update']);
    await runCommand(download, { cwd: archives });
  }
  for (const name of readdirSync(archives)) {
    await runCommand(['dpkg-deb', '-x', join(archives, name), directory]);
  }
}
