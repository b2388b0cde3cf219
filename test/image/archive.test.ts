import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { beforeEach, describe, expect, it } from 'vitest';
import { type Digest, digestHex, digestOf } from '../../src/digest.js';
import { parsePlatform } from '../../src/image/platform.js';
import { writeImage } from '../fixtures/oci-image.js';
import { expectNothingLeft, images, layers, pull, registry, root } from './images-fixture.js';

type Files = Record<string, string | Buffer | { readonly link: string }>;

async function tarOf(files: Files): Promise<Buffer> {
  const tar = pack();
  for (const [name, content] of Object.entries(files)) {
    if (typeof content === 'string' || Buffer.isBuffer(content)) tar.entry({ name }, content);
    else tar.entry({ name, type: 'symlink', linkname: content.link });
  }
  tar.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of tar) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** What `docker save` wrote before it wrote OCI layouts: a directory a layer, equal layers as links. */
function dockerArchive({
  tags = ['example.org/a:v1'] as string[] | null,
  layer = Buffer.from('layer one'),
} = {}): Files {
  const second = Buffer.from('layer two');
  const diffIds = [digestOf('layer one'), digestOf(second), digestOf('layer one')];
  const config = JSON.stringify({
    os: 'linux',
    architecture: 'amd64',
    rootfs: { type: 'layers', diff_ids: diffIds },
  });
  const configName = `${digestHex(digestOf(config))}.json`;
  const names = ['one/layer.tar', 'two/layer.tar', 'three/layer.tar'];
  return {
    'manifest.json': JSON.stringify([{ Config: configName, RepoTags: tags, Layers: names }]),
    [configName]: config,
    'one/layer.tar': layer,
    'two/layer.tar': second,
    'three/layer.tar': { link: '../one/layer.tar' },
  };
}

let directory: string;
beforeEach(() => {
  directory = join(root, 'archives');
  mkdirSync(directory);
});

async function loadFiles(files: Files, options = {}) {
  const path = join(directory, 'archive.tar');
  writeFileSync(path, await tarOf(files));
  return images.load(path, options);
}

/** Leaves of `oci` what `change` says. */
function makeLayout(
  change: (index: { manifests: Record<string, unknown>[] }) => void = () => undefined,
): string {
  const layout = writeImage(join(directory, 'layout'), {
    layers: [{ tar: Buffer.from('layer one') }],
    architecture: 'amd64',
  });
  const index = JSON.parse(readFileSync(join(layout.directory, 'index.json'), 'utf8'));
  change(index);
  writeFileSync(join(layout.directory, 'index.json'), JSON.stringify(index));
  return layout.directory;
}

const annotate =
  (annotations: Record<string, string>) => (index: { manifests: Record<string, unknown>[] }) => {
    for (const entry of index.manifests) entry['annotations'] = annotations;
  };

describe('load() of a docker save archive', () => {
  it('makes the same image each time, with its names, links followed', async () => {
    const [image] = await loadFiles(dockerArchive());
    expect(image).toMatchObject({ names: ['example.org/a:v1'], repoDigests: [] });
    expect(image?.layers.map(({ digest, diffId }) => digest === diffId)).toEqual([
      true,
      true,
      true,
    ]);
    const [again] = await loadFiles(dockerArchive({ tags: ['b'] }));
    expect(again).toMatchObject({
      id: image?.id,
      manifestDigest: image?.manifestDigest,
      names: ['docker.io/library/b:latest', 'example.org/a:v1'],
    });
  });

  it('takes compressed layers, a compressed archive, a stream, and no names', async () => {
    const [image] = await loadFiles(dockerArchive({ layer: gzipSync('layer one') }));
    expect(image?.layers[0]?.digest).toBe(digestOf(gzipSync('layer one')));
    const tar = await tarOf(dockerArchive({ tags: null }));
    const gzipped = join(directory, 'archive.tar.gz');
    writeFileSync(gzipped, gzipSync(tar));
    expect((await images.load(gzipped, { name: 'given' }))[0]?.names).toContain(
      'docker.io/library/given:latest',
    );
    for (const bytes of [tar, gzipSync(tar)]) {
      // In small pieces: magic bytes may come one by one.
      const pieces = [bytes.subarray(0, 1), bytes.subarray(1, 2), bytes.subarray(2)];
      expect(await images.load(Readable.from(pieces))).toHaveLength(1);
    }
    expect(readdirSync(join(root, 'ingest'))).toEqual([]);
  });
});

describe('load() of an OCI layout', () => {
  it.each<[Record<string, string>, string | undefined, string[]]>([
    [
      { 'org.opencontainers.image.ref.name': 'example.org/a/b:v1' },
      undefined,
      ['example.org/a/b:v1'],
    ],
    [
      {
        'org.opencontainers.image.ref.name': 'v1',
        'io.containerd.image.name': 'docker.io/library/x:v1',
      },
      undefined,
      ['docker.io/library/x:v1'],
    ],
    [{ 'org.opencontainers.image.ref.name': 'v1' }, 'example.org/a', ['example.org/a:v1']],
    [{ 'org.opencontainers.image.ref.name': 'v1' }, 'example.org/a:v2', ['example.org/a:v2']],
    [{ 'org.opencontainers.image.ref.name': 'v1' }, undefined, []],
    [{}, 'a', ['docker.io/library/a:latest']],
    [{}, undefined, []],
  ])('named by %j and %s is %j', async (annotations, name, names) => {
    const [image] = await images.load(
      makeLayout(annotate(annotations)),
      name === undefined ? {} : { name },
    );
    expect(image?.names).toEqual(names);
    expect(images.inspect(image?.id as Digest)).toEqual(image);
  });

  it('takes the entry for the platform, and refuses when there is none', async () => {
    const layout = makeLayout((index) => {
      const [entry] = index.manifests;
      index.manifests.unshift({
        ...entry,
        platform: { os: 'linux', architecture: 's390x' },
        digest: digestOf('absent'),
      });
    });
    expect(await images.load(layout, { platform: parsePlatform('linux/amd64') })).toHaveLength(1);
    const error = await images
      .load(layout, { platform: parsePlatform('linux/riscv64') })
      .catch((reason) => reason);
    expect(error).toMatchObject({ code: 'NO_PLATFORM' });
    expect(error.message).toContain(`Cannot load "${layout}"`);
  });

  it('reads no link and no special file of the directory', async () => {
    const layout = makeLayout();
    const [blob = ''] = readdirSync(join(layout, 'blobs/sha256'));
    const path = join(layout, 'blobs/sha256', blob);
    unlinkSync(path);
    symlinkSync('/etc/passwd', path);
    await expect(images.load(layout)).rejects.toThrow('Cannot open');
    unlinkSync(path);
    execFileSync('mkfifo', [path]);
    await expect(images.load(layout)).rejects.toThrow('no regular file');
    expectNothingLeft();
  });
});

describe('load() of something bad leaves nothing behind:', () => {
  it.each<[string, (files: Files) => void, string]>([
    ['no archive', (files) => delete files['manifest.json'], 'It is no image archive'],
    [
      'a missing layer',
      (files) => delete files['two/layer.tar'],
      'The layer "two/layer.tar" is missing',
    ],
    [
      'a changed layer',
      (files) => Object.assign(files, { 'two/layer.tar': 'other bytes' }),
      'expected sha256:',
    ],
    [
      'a malformed manifest',
      (files) => Object.assign(files, { 'manifest.json': '[{"Config": 1}]' }),
      '"manifest.json" is malformed',
    ],
    [
      'an empty manifest',
      (files) => Object.assign(files, { 'manifest.json': '[]' }),
      '"manifest.json" is malformed',
    ],
    [
      'a config outside',
      (files) =>
        Object.assign(files, { 'manifest.json': '[{"Config":"../../etc/passwd","Layers":[]}]' }),
      'The config "../../etc/passwd" is missing',
    ],
    [
      'too few layers',
      (files) =>
        Object.assign(files, {
          'manifest.json': String(files['manifest.json']).replace(',"three/layer.tar"', ''),
        }),
      '2 layers, but its config has 3 diff IDs',
    ],
    [
      'a bad name',
      (files) =>
        Object.assign(files, {
          'manifest.json': String(files['manifest.json']).replace('example.org/a:v1', 'A B'),
        }),
      'Invalid image reference',
    ],
  ])('%s', async (_name, change, message) => {
    const files = dockerArchive();
    change(files);
    await expect(loadFiles(files)).rejects.toThrow(message);
    expectNothingLeft();
  });

  it('a truncated archive, a damaged gzip stream, zstd, nothing at all, a missing file', async () => {
    const tar = await tarOf(dockerArchive());
    const attempts: [Buffer, string][] = [
      [tar.subarray(0, 700), 'truncated'],
      [Buffer.concat([gzipSync(tar).subarray(0, 100), Buffer.alloc(50)]), 'gzip stream is damaged'],
      [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0]), 'compressed by zstd'],
      [Buffer.alloc(0), 'no tar file'],
    ];
    for (const [bytes, message] of attempts) {
      const path = join(directory, 'bad');
      writeFileSync(path, bytes);
      await expect(images.load(path)).rejects.toThrow(message);
    }
    await expect(images.load(Readable.from([]))).rejects.toThrow('no tar file');
    await expect(images.load(join(directory, 'absent'))).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    expectNothingLeft();
  });

  it('a stream that the signal ends', async () => {
    const controller = new AbortController();
    const source = new PassThrough();
    source.write('x');
    const loading = images.load(source, { signal: controller.signal });
    setImmediate(() => controller.abort(new Error('enough')));
    await expect(loading).rejects.toThrow('enough');
    expect(source.destroyed).toBe(true);
    expectNothingLeft();
  });
});

describe('save()', () => {
  it('writes names asked for, each blob once, and the same bytes each time', async () => {
    registry.addImage('p/a', { tag: '1' });
    const image = await pull('p/a:1');
    await pull('p/a:1');
    const [one, two] = [join(directory, 'one.tar'), join(directory, 'two.tar')];
    const name = `${registry.host}/p/a:1`;
    await images.save([name, image.id], { destination: one });
    await images.save([name, image.id], { destination: two });
    expect(readFileSync(one)).toEqual(readFileSync(two));
    const stream = new PassThrough();
    const chunks: Buffer[] = [];
    stream.on('data', (chunk) => chunks.push(chunk));
    await images.save([name, image.id], { destination: stream });
    expect(Buffer.concat(chunks)).toEqual(readFileSync(one));
  });

  it('to a directory that is not empty is refused, and a failure leaves nothing', async () => {
    registry.addImage('p/a', { tag: '1' });
    const image = await pull('p/a:1');
    const target = join(directory, 'out');
    await images.save([image.id], { destination: target, format: 'directory' });
    expect(readdirSync(target).sort()).toEqual(['blobs', 'index.json', 'oci-layout']);
    await expect(
      images.save([image.id], { destination: target, format: 'directory' }),
    ).rejects.toThrow('not empty');
    expect((await images.load(target))[0]?.id).toBe(image.id);
    const layer = image.layers[0]?.digest as Digest;
    writeFileSync(
      join(root, 'blobs/sha256', digestHex(layer)),
      Buffer.alloc(image.layers[0]?.sizeBytes ?? 0),
    );
    for (const format of ['tar', 'directory'] as const) {
      const bad = join(directory, `bad-${format}`);
      await expect(images.save([image.id], { destination: bad, format })).rejects.toThrow(
        'is damaged on this machine',
      );
      expect(existsSync(bad) && readdirSync(bad).length > 0).toBe(false);
    }
    expect(readdirSync(directory).filter((name) => name.endsWith('.partial'))).toEqual([]);
    await expect(images.save(['absent'], { destination: target })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    expect(layers.diffIds.size).toBe(1);
  });
});
