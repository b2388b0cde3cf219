import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Credential } from '../../src/auth/credential.js';
import { loadDockerConfig } from '../../src/auth/docker-config.js';
import { DockerConfigKeyring } from '../../src/auth/keyring.js';
import type { Digest } from '../../src/digest.js';
import { describeError } from '../../src/errors.js';
import { startRegistry } from '../fixtures/docker-registry.js';
import { findLeaks } from '../fixtures/leak-check.js';
import { pushBySkopeo, writeImage } from '../fixtures/oci-image.js';
import { type ImageRoot, openImageRoot, sha256, tarOf } from './images-fixture.js';

type Registry = Awaited<ReturnType<typeof startRegistry>>;

let work: string;
let open: Registry;
let guarded: Registry;
let root: ImageRoot;
const user = { username: 'anna', password: 'correct horse' };

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'cais-pull-'));
  [open, guarded] = await Promise.all([
    startRegistry(),
    startRegistry({ htpasswd: { [user.username]: user.password } }),
  ]);
});
afterAll(async () => {
  await Promise.all([open?.stop(), guarded?.stop()]);
  rmSync(work, { recursive: true, force: true });
});
beforeEach(async () => {
  root = await openImageRoot();
});
afterEach(() => root[Symbol.asyncDispose]());

let count = 0;
async function makeImage(compressions: readonly ('gzip' | 'zstd' | 'none')[]) {
  const tars = await Promise.all(
    compressions.map((_, i) =>
      tarOf({ [`etc/file${i}`]: `content ${i} ${count}`, [`big${i}`]: Buffer.alloc(300_000, i) }),
    ),
  );
  const layers = tars.map((tar, i) => ({ tar, compression: compressions[i] ?? ('gzip' as const) }));
  return {
    layout: writeImage(join(work, `layout${count++}`), {
      layers,
      config: { Cmd: ['sh'], Env: ['A=b'] },
    }),
    tars,
  };
}

const blobs = () =>
  readdirSync(join(root.directory, 'blobs/sha256'))
    .map((hex) => `sha256:${hex}`)
    .sort();

describe('a pull from docker-registry', () => {
  it.each<[string, readonly ('gzip' | 'zstd' | 'none')[], readonly string[]]>([
    ['OCI, three compressions', ['gzip', 'zstd', 'none'], ['--preserve-digests']],
    ['Docker schema 2', ['gzip', 'gzip'], ['--format=v2s2']],
  ])('unpacks and verifies: %s', async (_name, compressions, args) => {
    const { layout, tars } = await makeImage(compressions);
    const name = `${open.host}/team/app${count}:v1`;
    pushBySkopeo(layout, { reference: name, args });
    const image = await root.images.pull(name);
    expect(image.id).toBe(layout.configDigest);
    expect(image.config).toMatchObject({ cmd: ['sh'], env: ['A=b'] });
    expect(image.layers.map(({ diffId }) => diffId)).toEqual(tars.map(sha256));
    expect(blobs()).toEqual(
      [image.id, image.manifestDigest, ...image.layers.map(({ digest }) => digest)].sort(),
    );
    for (const { diffId } of image.layers)
      expect(await root.layers.verify(diffId)).not.toBe('damaged');
    expect(findLeaks({ root: root.directory })).toEqual([]);
  });

  it('leaves a root that skopeo reads as an OCI layout', async () => {
    const { layout } = await makeImage(['gzip', 'none']);
    const name = `${open.host}/team/shared:v1`;
    pushBySkopeo(layout, { reference: name, args: ['--preserve-digests'] });
    await root.images.pull(name);
    const target = join(work, `copy${count}`);
    execFileSync('skopeo', [
      'copy',
      '-q',
      '--insecure-policy',
      '--preserve-digests',
      `oci:${root.directory}`,
      `oci:${target}:x`,
    ]);
    execFileSync('skopeo', [
      'copy',
      '-q',
      '--insecure-policy',
      `oci:${root.directory}:${name}`,
      `oci:${target}:y`,
    ]);
    const index = JSON.parse(readFileSync(join(target, 'index.json'), 'utf8'));
    expect(index.manifests[0].digest).toBe(layout.manifestDigest);
  });

  it('removal leaves nothing', async () => {
    const { layout } = await makeImage(['gzip', 'zstd']);
    const name = `${open.host}/team/gone:v1`;
    pushBySkopeo(layout, { reference: name, args: ['--preserve-digests'] });
    const image = await root.images.pull(name);
    await root.images.remove(name);
    expect(blobs()).toEqual([]);
    expect(root.layers.list()).toEqual([]);
    expect(root.layers.has(image.layers[0]?.diffId as Digest)).toBe(false);
    expect(readdirSync(join(root.directory, 'layers/sha256'))).toEqual([]);
  });

  it('of a tag that does not exist names image and registry', async () => {
    const error = await root.images
      .pull(`${open.host}/team/absent:v9`)
      .catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'NOT_FOUND', registryCode: 'MANIFEST_UNKNOWN' });
    expect(describeError(error)).toContain(
      `Cannot pull "${open.host}/team/absent:v9": manifest: not found (${open.host} answered 404`,
    );
  });
});

describe('a pull from a registry with htpasswd', () => {
  let name: string;
  let configPath: string;

  beforeAll(async () => {
    const { layout } = await makeImage(['gzip']);
    name = `${guarded.host}/private/app:v1`;
    pushBySkopeo(layout, { reference: name, credentials: user });
    configPath = join(work, 'config.json');
    const auth = Buffer.from(`${user.username}:${user.password}`).toString('base64');
    writeFileSync(configPath, JSON.stringify({ auths: { [guarded.host]: { auth } } }));
  });

  it('succeeds with the credentials of a Docker configuration file', async () => {
    await using own = await openImageRoot({
      keyring: new DockerConfigKeyring(() => loadDockerConfig([configPath])),
    });
    expect((await own.images.pull(name)).names).toEqual([name]);
  });

  it('succeeds with given credentials, also after wrong ones', async () => {
    const credentials = ['wrong', user.password].map((password) =>
      Credential.password(user.username, password, 'test'),
    );
    expect((await root.images.pull(name, { credentials })).names).toEqual([name]);
  });

  it('fails without credentials, and with wrong ones, saying so and leaving nothing', async () => {
    const anonymous = await root.images.pull(name).catch((reason: unknown) => reason);
    expect(anonymous).toMatchObject({ code: 'UNAUTHORIZED' });
    expect(describeError(anonymous)).toContain(`no basic auth credentials for ${guarded.host}`);
    const wrong = await root.images
      .pull(name, { credentials: [Credential.password('anna', 'hunter2', 'test')] })
      .catch((reason: unknown) => reason);
    expect(wrong).toMatchObject({ code: 'UNAUTHORIZED', status: 401 });
    expect(describeError(wrong)).toContain('pull access denied');
    expect(describeError(wrong)).not.toContain('hunter2');
    expect(blobs()).toEqual([]);
    expect(findLeaks({ root: root.directory })).toEqual([]);
  });
});

describe('archives', () => {
  it('of skopeo load, in both formats and as a directory', async () => {
    const { layout, tars } = await makeImage(['gzip', 'gzip']);
    const directory = join(work, `archives${count}`);
    mkdirSync(directory);
    const archives = {
      'docker-archive': join(directory, 'docker.tar'),
      'oci-archive': join(directory, 'oci.tar'),
    };
    for (const [format, path] of Object.entries(archives)) {
      execFileSync('skopeo', [
        'copy',
        '-q',
        '--insecure-policy',
        `oci:${layout.directory}:latest`,
        `${format}:${path}:example.org/a/b:v1`,
      ]);
      await using own = await openImageRoot();
      const [image] = await own.images.load(path);
      expect(image?.id).toBe(layout.configDigest);
      expect(image?.names).toEqual(['example.org/a/b:v1']);
      expect(image?.layers.map(({ diffId }) => diffId)).toEqual(tars.map(sha256));
      expect(findLeaks({ root: own.directory })).toEqual([]);
    }
    const [image] = await root.images.load(layout.directory, { name: 'example.org/c' });
    expect(image?.names).toEqual(['example.org/c:latest']);
    expect(image?.manifestDigest).toBe(layout.manifestDigest);
  });

  it('saved here are read by skopeo as OCI and as Docker archive, and load again as the same image', async () => {
    const { layout } = await makeImage(['gzip', 'none']);
    await root.images.load(layout.directory, { name: 'example.org/saved:v1' });
    const path = join(work, 'saved.tar');
    await root.images.save(['example.org/saved:v1'], { destination: path });
    for (const source of [
      `oci-archive:${path}:example.org/saved:v1`,
      `docker-archive:${path}:example.org/saved:v1`,
    ]) {
      const shown = JSON.parse(execFileSync('skopeo', ['inspect', '--config', source]).toString());
      expect(shown.config.Env).toEqual(['A=b']);
      execFileSync('skopeo', [
        'copy',
        '-q',
        '--insecure-policy',
        source,
        `oci:${join(work, `resaved${count++}`)}:x`,
      ]);
    }
    await using own = await openImageRoot();
    const [again] = await own.images.load(path);
    expect(again).toMatchObject({
      id: layout.configDigest,
      manifestDigest: layout.manifestDigest,
      names: ['example.org/saved:v1'],
    });
  });
});
