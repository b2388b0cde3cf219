import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Credential } from '../../src/auth/credential.js';
import { FakeRegistry, guardByToken } from '../fakes/registry.js';
import {
  amd64,
  codeOf,
  credentials,
  expectNothingLeft,
  images,
  isBlob,
  registry as mirror,
  root,
} from './images-fixture.js';

/** Registries that nobody could reach from here: everything comes from the mirror. */
function configure(host: string, text = `server = "http://${mirror.host}"`): void {
  const directory = join(root, 'certs.d', host);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'hosts.toml'), text);
}

const pull = (name: string, options = {}) => images.pull(name, { platform: amd64, ...options });

describe('an image from a mirror', () => {
  it('keeps the name that was asked for', async () => {
    configure('registry.k8s.io');
    configure('_default');
    const { manifest } = mirror.addImage('pause', { tag: '3.9' });
    mirror.addImage('library/busybox', { tag: 'latest' });
    const pause = await pull('registry.k8s.io/pause:3.9');
    expect(pause.names).toEqual(['registry.k8s.io/pause:3.9']);
    expect(pause.repoDigests).toEqual([`registry.k8s.io/pause@${manifest.digest}`]);
    expect((await pull('busybox')).names).toContain('docker.io/library/busybox:latest');
    expect(mirror.seen('ns=registry.k8s.io')).not.toEqual([]);
    expect(mirror.seen('ns=docker.io')).not.toEqual([]);
    expect(images.inspect('registry.k8s.io/pause:3.9').id).toBe(pause.id);
  });

  it('comes from there alone though only the registry says what a tag means', async () => {
    const upstream = await FakeRegistry.start();
    try {
      configure(upstream.host, `[host."http://${mirror.host}"]\ncapabilities = ["pull"]\n`);
      mirror.addImage('p/app', { tag: 'v1' });
      upstream.addImage('p/app', { tag: 'v1' });
      await pull(`${upstream.host}/p/app:v1`);
      expect(upstream.requests.map(({ method, path }) => [method, path])).toEqual([
        ['HEAD', '/v2/p/app/manifests/v1'],
      ]);
      expect(mirror.seen('/manifests/v1')).toEqual([]);
      expect(mirror.requests.filter(isBlob)).toHaveLength(2);
    } finally {
      await upstream.stop();
    }
  });
});

it('a changed hosts.toml counts for the next pull', async () => {
  configure('r.example', 'server = "http://127.0.0.1:1"');
  mirror.addImage('p/app', { tag: 'v1' });
  configure('r.example');
  expect((await pull('r.example/p/app:v1')).names).toEqual(['r.example/p/app:v1']);
});

it('a broken hosts.toml fails the pull, and says where', async () => {
  configure('r.example', '[host."http://x"]\nskip_verfy = true');
  const error = await pull('r.example/p/app').catch((reason: Error) => reason);
  expect(error).toMatchObject({ code: 'BAD_HOSTS_FILE' });
  expect((error as Error).message).toBe(
    `Cannot pull "r.example/p/app:latest": Cannot use "${root}/certs.d/r.example/hosts.toml": ` +
      'unknown key "host.http://x.skip_verfy"; known here: capabilities, ca, client, skip_verify, header, override_path, dial_timeout, proxy',
  );
  expectNothingLeft();
});

describe('what a caller brings', () => {
  let given: (string | undefined)[];
  beforeEach(() => {
    given = [];
    guardByToken(mirror, { accepts: (secret) => given.push(secret) > 0 });
    mirror.addImage('p/app', { tag: 'v1' });
    configure('r.example');
  });
  afterEach(() => {
    credentials.length = 0;
  });
  const auth = { username: 'u', password: 'p' };

  it('goes to no mirror', async () => {
    await pull('r.example/p/app:v1', { auth });
    await pull('r.example/p/app:v1', { credentials: [Credential.password('u', 'p', 'test')] });
    expect(given).toEqual([undefined, undefined]);
  });

  it('goes to the mirror that it is for', async () => {
    await pull('r.example/p/app:v1', { auth: { ...auth, serverAddress: mirror.host } });
    expect(given).toEqual(['u:p']);
  });

  it('goes to the registry, unless it is for another one', async () => {
    const name = `${mirror.host}/p/app:v1`;
    await pull(name, { auth });
    await pull(name, { auth: { ...auth, serverAddress: `http://${mirror.host}/v1/` } });
    await pull(name, { auth: { ...auth, serverAddress: 'other.example' } });
    await pull(name, { auth: {} });
    expect(given).toEqual(['u:p', 'u:p', undefined, undefined]);
  });

  it('is refused when it is malformed', async () => {
    expect(await codeOf(pull('r.example/p/app', { auth: { auth: '!' } }))).toBe('INVALID_ARGUMENT');
  });

  it('is not needed for a mirror that the machine knows', async () => {
    credentials.push(Credential.password('machine', 'q', 'test'));
    await pull('r.example/p/app:v1', { auth });
    expect(given).toEqual(['machine:q']);
  });
});
