import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { buildNativeProgram } from '../fixtures/native-program.js';

const run = promisify(execFile);

const ROUNDS = 3_000;

describe('SHA-256 by the instructions of the processor', () => {
  let program: string;
  beforeAll(async () => {
    program = await buildNativeProgram({
      name: 'sha256-check',
      sources: [
        'test/native/sha256_check.cc',
        'native/layer/sha256.cc',
        'native/layer/sha256_blocks.cc',
      ],
      libraries: ['crypto'],
    });
  });

  test(`is that of OpenSSL, alone and two at once (${ROUNDS} random pairs)`, async ({ skip }) => {
    const { stdout } = await run(program, [String(Date.now()), String(ROUNDS)]);
    if (stdout.trim() === 'no instructions') skip('this processor has no SHA instructions');
    expect(stdout.trim()).toBe(`sha256:${createHash('sha256').update('abc').digest('hex')}`);
  });
});
