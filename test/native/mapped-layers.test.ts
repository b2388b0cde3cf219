import { type ChildProcess, spawn } from 'node:child_process';
import {
  chownSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadNative, SUPERVISOR_PATH } from '../../src/native.js';
import { TestJob } from '../fixtures/layer-job.js';
import { makeLayerTar } from '../fixtures/layer-tar.js';

const FIRST = 300_000;

let root: string;
let holder: ChildProcess;
const opened: number[] = [];
const keep = (fd: number) => {
  opened.push(fd);
  return fd;
};

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'cais-mapped-'));
});
afterEach(() => {
  for (const fd of opened.splice(0)) closeSync(fd);
  holder.kill('SIGKILL');
  rmSync(root, { recursive: true, force: true });
});

/** A user namespace whose root is `FIRST` of the machine. */
async function userNamespace(): Promise<number> {
  holder = spawn('unshare', ['--user', 'sh', '-c', 'echo in; exec sleep 1000'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => holder.stdout?.once('data', resolve));
  for (const map of ['uid_map', 'gid_map']) {
    writeFileSync(`/proc/${holder.pid}/${map}`, `0 ${FIRST} 65536\n`);
  }
  return keep(openSync(`/proc/${holder.pid}/ns/user`, 'r'));
}

test('mountOverlay() shows layers in the image form through the maps of a user namespace, and copies up with them', async () => {
  const native = loadNative();
  const job = new TestJob(root);
  await job.run(
    await makeLayerTar([
      { name: 'root', content: 'of root', uid: 0, gid: 0 },
      { name: 'user', content: 'of a user', uid: 1000, gid: 1001 },
    ]),
  );
  const layer = keep(await native.mountLayerImage(join(job.directory, 'layer')));
  const upper = { upperDirectory: join(root, 'upper'), workDirectory: join(root, 'work') };
  for (const path of Object.values(upper)) mkdirSync(path);
  chownSync(upper.upperDirectory, FIRST, FIRST);
  const overlay = keep(
    await native.mountOverlay({
      lower: [{ fd: layer }],
      upper,
      volatile: false,
      userNamespaceFd: await userNamespace(),
      linkDirectory: join(root, 'l'),
      supervisorPath: SUPERVISOR_PATH,
    }),
  );
  const owner = (path: string) => {
    const { uid, gid } = statSync(path);
    return [uid - FIRST, gid - FIRST];
  };
  const mount = `/proc/self/fd/${overlay}`;
  expect(owner(`${mount}/root`)).toEqual([0, 0]);
  expect(owner(`${mount}/user`)).toEqual([1000, 1001]);
  writeFileSync(`${mount}/user`, 'changed');
  expect(owner(join(upper.upperDirectory, 'user'))).toEqual([1000, 1001]);
  // The shared mount of the layer is as it was.
  expect(statSync(`/proc/self/fd/${layer}/user`).uid).toBe(1000);
  expect(readFileSync(`/proc/self/fd/${layer}/user`, 'utf8')).toBe('of a user');
});
