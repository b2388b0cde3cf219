import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { FailedPreconditionError } from '../../src/errors.js';
import { loadNative } from '../../src/native.js';
import { ServeLock } from '../../src/operation/serve-lock.js';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'cais-serve-lock-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const take = () => ServeLock.take(loadNative(), { root, run: join(root, 'run') });

it('is one for each root, and names who has it', async () => {
  const lock = await take();
  const error = await take().catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(FailedPreconditionError);
  expect((error as Error).message).toBe(
    `Another cais serves "${root}" already (pid ${process.pid}); stop it, or choose another --root`,
  );
  lock.release();
  (await take()).release();
});
