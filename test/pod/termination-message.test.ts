import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ContainerSpec } from '../../src/objects/container-schema.js';
import { applyPodDefaults } from '../../src/objects/defaults.js';
import { makeTerminationFile, readTerminationMessage } from '../../src/pod/termination-message.js';

describe('termination message', () => {
  let directory: string;
  let logDirectory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'cais-termination-'));
    logDirectory = join(directory, 'logs');
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  function podOf(container: Partial<ContainerSpec> = {}, count = 1) {
    const names = Array.from({ length: count }, (_, i) => `c${i}`);
    return applyPodDefaults(
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'web' },
        spec: { containers: names.map((name) => ({ name, image: 'x', ...container })) },
      },
      { restartPolicy: 'Never' },
    );
  }

  /** Makes the file, lets `write` change it, and reads as after the container's end. */
  async function readAfter(
    write: (hostPath: string) => void,
    { pod = podOf(), exitCode = 1 } = {},
  ): Promise<string | undefined> {
    const [container] = pod.spec.containers;
    if (container === undefined) throw new Error('no container');
    const mount = await makeTerminationFile(container, directory);
    write(mount.hostPath);
    const places = { pod, directory, logDirectory };
    return readTerminationMessage(places, { name: container.name, attempt: 0, exitCode });
  }

  function writeLog(lines: readonly string[]): void {
    const path = join(logDirectory, 'c0/0.log');
    mkdirSync(dirname(path), { recursive: true });
    const head = '2026-01-02T03:04:05.000000006Z stdout';
    writeFileSync(path, lines.map((line) => `${head} ${line}\n`).join(''));
  }

  const FALLBACK = podOf({ terminationMessagePolicy: 'FallbackToLogsOnError' });

  test('the file is empty, open to every user of the container, and mounted at the default path', async () => {
    const [container] = podOf().spec.containers;
    if (container === undefined) throw new Error('no container');
    const mount = await makeTerminationFile(container, directory);
    expect(mount).toMatchObject({ containerPath: '/dev/termination-log', readOnly: false });
    const status = statSync(mount.hostPath);
    expect({ mode: status.mode & 0o7777, size: status.size }).toEqual({ mode: 0o666, size: 0 });
    expect(statSync(dirname(mount.hostPath)).mode & 0o7777).toBe(0o700);
  });

  test('terminationMessagePath moves it', async () => {
    const [container] = podOf({ terminationMessagePath: '/tmp/why' }).spec.containers;
    if (container === undefined) throw new Error('no container');
    expect(await makeTerminationFile(container, directory)).toMatchObject({
      containerPath: '/tmp/why',
    });
  });

  test('the next attempt gets an empty file', async () => {
    await readAfter((path) => writeFileSync(path, 'first'));
    expect(await readAfter(() => undefined)).toBeUndefined();
  });

  test('the last 4096 bytes are read', async () => {
    const text = await readAfter((path) => writeFileSync(path, `${'a'.repeat(9000)}end`));
    expect(text).toBe(`${'a'.repeat(4093)}end`);
  });

  test('a character that is cut in two is left out', async () => {
    expect(await readAfter((path) => writeFileSync(path, `é${'a'.repeat(4095)}`))).toBe(
      'a'.repeat(4095),
    );
  });

  test('many containers share 12 KiB', async () => {
    const text = await readAfter((path) => writeFileSync(path, 'a'.repeat(9000)), {
      pod: podOf({}, 6),
    });
    expect(text).toHaveLength(2048);
  });

  test('success has a message too', async () => {
    expect(await readAfter((path) => writeFileSync(path, 'fine'), { exitCode: 0 })).toBe('fine');
  });

  test.each([
    ['a link', (path: string) => symlinkSync('/etc/passwd', path)],
    ['a directory', (path: string) => mkdirSync(path)],
    ['a FIFO', (path: string) => execFileSync('mkfifo', [path])],
    ['nothing', () => undefined],
  ])('%s instead of the file is not read', async (_what, put) => {
    const text = await readAfter((path) => {
      unlinkSync(path);
      put(path);
    });
    expect(text).toBeUndefined();
  });

  test('FallbackToLogsOnError takes the last 80 lines of the log, parts joined', async () => {
    const lines = Array.from({ length: 100 }, (_, i) => `F line ${i}`);
    writeLog([...lines, 'P the ', 'F end']);
    const expected = [...lines.slice(-79).map((line) => line.slice(2)), 'the end', ''];
    expect(await readAfter(() => undefined, { pod: FALLBACK })).toBe(expected.join('\n'));
  });

  test('FallbackToLogsOnError takes the last 2048 bytes of those', async () => {
    writeLog([`F ${'a'.repeat(200_000)}`, `F ${'b'.repeat(3000)}`]);
    expect(await readAfter(() => undefined, { pod: FALLBACK })).toBe(`${'b'.repeat(2047)}\n`);
  });

  test.each([
    ['the file is not empty', { exitCode: 1, said: 'mine', pod: FALLBACK }, 'mine'],
    ['the container succeeded', { exitCode: 0, said: '', pod: FALLBACK }, undefined],
    ['the policy is File', { exitCode: 1, said: '', pod: podOf() }, undefined],
  ])('the log is not read when %s', async (_when, { said, ...how }, expected) => {
    writeLog(['F from the log']);
    expect(await readAfter((path) => writeFileSync(path, said), how)).toBe(expected);
  });
});
