import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startRegistry } from '../fixtures/docker-registry.js';
import { expectNoLeaks } from '../fixtures/leak-check.js';
import { pushBySkopeo, writeImage } from '../fixtures/oci-image.js';

const REPOSITORY = join(import.meta.dirname, '../..');
const user = { username: 'anna', password: 'correct horse' };

let directory: string;
let registry: Awaited<ReturnType<typeof startRegistry>>;
let name: string;
let id: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'cais-cli-'));
  registry = await startRegistry({ htpasswd: { [user.username]: user.password } });
  name = `${registry.host}/team/app:v1`;
  const layout = writeImage(join(directory, 'layout'), {
    layers: [{ tar: Buffer.alloc(1024) }],
    config: { Cmd: ['sh'] },
  });
  id = layout.configDigest;
  pushBySkopeo(layout, { reference: name, credentials: user, args: ['--preserve-digests'] });
});
afterAll(async () => {
  await registry?.stop();
  rmSync(directory, { recursive: true, force: true });
});

interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function cais(args: readonly string[], input = ''): Promise<Output> {
  const roots = ['--root', join(directory, 'root'), '--run', join(directory, 'run')];
  return new Promise((resolve) => {
    const child = execFile(
      join(REPOSITORY, 'bin/cais'),
      [...roots, ...args],
      { env: { ...process.env, DOCKER_CONFIG: join(directory, 'docker') } },
      (error, stdout, stderr) =>
        resolve({
          code: typeof error?.code === 'number' ? error.code : error ? -1 : 0,
          stdout,
          stderr,
        }),
    );
    child.stdin?.end(input);
  });
}

it('login, pull, images, inspect, save, rmi, load, logout do what they say', async () => {
  const refused = await cais(['pull', name]);
  expect(refused).toMatchObject({ code: 1, stdout: '' });
  expect(refused.stderr).toContain(`cais: Cannot pull "${name}"`);
  expect(refused.stderr).toContain('no basic auth credentials');

  const wrong = await cais(['login', registry.host, '-u', 'anna', '--password-stdin'], 'hunter2\n');
  expect(wrong.code).toBe(1);
  expect(wrong.stderr).toContain(`Cannot log in to ${registry.host}`);
  expect(wrong.stderr + wrong.stdout).not.toContain('hunter2');
  expect(await cais(['login', registry.host, '-u', 'anna'])).toMatchObject({ code: 2 });
  const loggedIn = await cais(
    ['login', registry.host, '-u', 'anna', '--password-stdin'],
    `${user.password}\n`,
  );
  expect(loggedIn).toMatchObject({ code: 0, stdout: `Logged in to ${registry.host}\n` });
  expect(statSync(join(directory, 'docker/config.json')).mode & 0o777).toBe(0o600);

  const pulled = await cais(['pull', name]);
  expect(pulled).toMatchObject({ code: 0, stdout: `${id}\n` });
  expect(pulled.stderr).toMatch(
    /^Pulling .*\n[0-9a-f]{12}: (?:downloading.*\n[0-9a-f]{12}: )?done/,
  );

  const listed = await cais(['images']);
  const [heading, line] = listed.stdout.split('\n');
  expect(heading).toMatch(/^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE$/);
  expect(line).toContain(`${registry.host}/team/app`);
  expect(line).toContain(id.slice(7, 19));
  expect((await cais(['images', '-q'])).stdout).toBe(`${id}\n`);
  expect((await cais(['images', 'other'])).stdout).toBe(
    `${'REPOSITORY  TAG  IMAGE ID  CREATED  SIZE'}\n`,
  );
  const [record] = JSON.parse((await cais(['inspect', id.slice(7, 15)])).stdout);
  expect(record).toMatchObject({ id, names: [name], config: { cmd: ['sh'] } });
  expect((await cais(['inspect', 'absent'])).stderr).toBe(
    'cais: Image "absent" not found on this machine; pull it first\n',
  );

  const archive = join(directory, 'saved.tar');
  expect(await cais(['save', name, '-o', archive])).toMatchObject({ code: 0, stdout: '' });
  expect(await cais(['rmi', name])).toMatchObject({
    code: 0,
    stdout: expect.stringContaining(`Deleted: ${id}\n`),
  });
  expect(await cais(['rmi', name])).toMatchObject({ code: 1 });
  expect(await cais(['load', archive])).toMatchObject({ code: 0, stdout: `${name}\n` });
  expect(await cais(['load', join(directory, 'docker/config.json')])).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('no tar file'),
  });
  expect(
    execFileSync('skopeo', ['inspect', '--config', `oci:${join(directory, 'root')}`]).toString(),
  ).toContain('"sh"');

  expect(await cais(['logout', registry.host])).toMatchObject({ code: 0 });
  expect(readFileSync(join(directory, 'docker/config.json'), 'utf8')).not.toContain(registry.host);
  expect(await cais(['pull', 'A B'])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('Invalid image reference "A B"'),
  });
  await expectNoLeaks({ root: join(directory, 'root'), run: join(directory, 'run') });
}, 120_000);
