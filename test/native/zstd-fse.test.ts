import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { buildNativeProgram } from '../fixtures/native-program.js';

const run = promisify(execFile);

const ROUNDS = 20_000;

test(`states of finite state entropy are those of RFC 8878 (${ROUNDS} random distributions)`, async () => {
  const program = await buildNativeProgram({
    name: 'zstd-fse-check',
    sources: ['test/native/zstd_fse_check.cc', 'native/layer/zstd_fse.cc'],
  });
  const { stdout } = await run(program, [String(Date.now()), String(ROUNDS)]);
  expect(stdout.trim()).toMatch(/^same \d{6,}$/);
});
