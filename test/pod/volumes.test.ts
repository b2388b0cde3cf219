import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { applyPodDefaults } from '../../src/objects/defaults.js';
import { setUpVolumes } from '../../src/pod/volumes.js';

/** @see contracts/kubernetes-semantics.md F55 to F58 */
describe('a host path', () => {
  let place: string;
  beforeEach(() => {
    place = mkdtempSync(join(tmpdir(), 'cais-volumes-'));
    writeFileSync(join(place, 'file'), '');
  });
  afterEach(() => rmSync(place, { recursive: true }));

  const setUp = (type: 'DirectoryOrCreate' | 'FileOrCreate' | 'Directory', path: string) => {
    const pod = applyPodDefaults(
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'web' },
        spec: {
          containers: [{ name: 'c', image: 'x' }],
          volumes: [{ name: 'data', hostPath: { path, type } }],
        },
      },
      { restartPolicy: 'Never' },
    );
    return setUpVolumes(pod, join(place, 'volumes'));
  };

  it('that is missing is made where its type says so', async () => {
    const path = join(place, 'a/b');
    expect(await setUp('DirectoryOrCreate', path)).toEqual(new Map([['data', path]]));
    expect(statSync(path).mode & 0o777).toBe(0o755 & ~process.umask());
    await setUp('FileOrCreate', join(path, 'file'));
    expect(statSync(join(path, 'file')).isFile()).toBe(true);
  });

  it.each([
    ['Directory', 'nothing', 'hostPath type check failed: PATH is not a directory'],
    ['DirectoryOrCreate', 'file', 'hostPath type check failed: PATH is not a directory'],
    ['DirectoryOrCreate', 'file/x', 'cannot create directory PATH'],
    ['FileOrCreate', 'nothing/x', 'cannot create file PATH'],
    ['DirectoryOrCreate', '/proc/no/x', 'cannot create directory PATH'],
  ] as const)('of type %s at %s is refused', async (type, name, problem) => {
    const path = name.startsWith('/') ? name : join(place, name);
    await expect(setUp(type, path)).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      message: `MountVolume.SetUp failed for volume "data" : ${problem.replace('PATH', path)}`,
    });
  });
});
