import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { TestSandbox } from '../fixtures/supervisor.js';

let sandbox: TestSandbox;

beforeEach(async () => {
  sandbox = await TestSandbox.start();
});

afterEach(() => sandbox.dispose());

describe('a container', () => {
  test('runs, logs both streams and ends with its exit code', async () => {
    const done = await sandbox.complete('echo out; echo err >&2; exit 7');
    expect(done).toMatchObject({ exitCode: 7, signal: 0, oomKilled: false });
    expect(done.output).toEqual({ stdout: 'out\n', stderr: 'err\n' });
  });
});
