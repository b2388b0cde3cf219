import { closeSync, ftruncateSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type Config, statePaths } from '../config.js';
import { makeDirectories } from '../directories.js';
import { FailedPreconditionError } from '../errors.js';
import type { NativeBinding } from '../native.js';

/** Says that this process serves a root, until it is released or the process ends, however it ends. */
export class ServeLock {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** @throws FailedPreconditionError with the pid of the process that serves the root already. */
  static async take(
    native: Pick<NativeBinding, 'lockFile'>,
    config: Pick<Config, 'root' | 'run'>,
  ): Promise<ServeLock> {
    const { locks } = statePaths(config);
    await makeDirectories(locks, 0o700);
    const path = join(locks, 'serve');
    const fd = await native.lockFile(path, { exclusive: true, wait: false });
    if (fd === null) {
      const pid = /^[0-9]{1,10}$/m.exec(readFileSync(path, 'latin1').slice(0, 20))?.[0];
      throw new FailedPreconditionError(
        `Another cais serves "${config.root}" already (${pid === undefined ? 'its pid is not known' : `pid ${pid}`}); stop it, or choose another --root`,
      );
    }
    ftruncateSync(fd);
    writeSync(fd, `${process.pid}\n`, 0);
    return new ServeLock(fd);
  }

  release(): void {
    closeSync(this.#fd);
  }
}
