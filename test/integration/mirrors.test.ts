import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadDockerConfig } from '../../src/auth/docker-config.js';
import { DockerConfigKeyring } from '../../src/auth/keyring.js';
import { startRegistry } from '../fixtures/docker-registry.js';
import { pushBySkopeo, writeImage } from '../fixtures/oci-image.js';
import { selfSigned } from '../registry/raw-server.js';
import { openImageRoot, tarOf } from './images-fixture.js';

type Registry = Awaited<ReturnType<typeof startRegistry>>;

let work: string;
let guarded: Registry;
let secure: Registry;
const user = { username: 'anna', password: 'correct horse' };

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'cais-mirrors-'));
  const { cert, key } = selfSigned();
  const [certificatePath, keyPath] = [join(work, 'cert.pem'), join(work, 'key.pem')];
  writeFileSync(certificatePath, cert);
  writeFileSync(keyPath, key);
  [guarded, secure] = await Promise.all([
    startRegistry({ htpasswd: { [user.username]: user.password } }),
    startRegistry({ tls: { certificatePath, keyPath } }),
  ]);
  const layout = writeImage(join(work, 'layout'), {
    layers: [{ tar: await tarOf({ 'etc/file': 'content', big: Buffer.alloc(3_000_000, 7) }) }],
    config: { Cmd: ['sh'] },
  });
  pushBySkopeo(layout, { reference: `${guarded.host}/library/app:v1`, credentials: user });
  pushBySkopeo(layout, { reference: `${secure.host}/library/app:v1` });
});
afterAll(async () => {
  await Promise.all([guarded?.stop(), secure?.stop()]);
  rmSync(work, { recursive: true, force: true });
});

function configure(host: string, text: string): string {
  const directory = join(work, 'certs.d', host);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'hosts.toml'), text);
  return join(work, 'certs.d');
}

it('pulls by TLS with an authority of its own, as if from Docker Hub', async () => {
  const registryConfigDir = configure(
    'docker.io',
    `server = "https://${secure.host}"\nca = "${work}/cert.pem"\n`,
  );
  await using root = await openImageRoot({ settings: { registryConfigDir } });
  const image = await root.images.pull('app:v1');
  expect(image.names).toEqual(['docker.io/library/app:v1']);
  expect([...root.layers.list()]).toHaveLength(1);
  configure('docker.io', `server = "https://${secure.host}"\n`);
  await expect(root.images.pull('app:v1')).rejects.toThrow(/self.signed certificate/);
});

it('logs in to a mirror with what the machine keeps under its name', async () => {
  const registryConfigDir = configure('r.example', `server = "http://${guarded.host}"\n`);
  const path = join(work, 'config.json');
  const auth = btoa(`${user.username}:${user.password}`);
  writeFileSync(path, JSON.stringify({ auths: { [guarded.host]: { auth } } }));
  const keyring = new DockerConfigKeyring(() => loadDockerConfig([path]));
  await using root = await openImageRoot({ keyring, settings: { registryConfigDir } });
  const image = await root.images.pull('r.example/library/app:v1');
  expect(image.names).toEqual(['r.example/library/app:v1']);

  writeFileSync(path, JSON.stringify({ auths: { 'r.example': { auth } } }));
  await expect(root.images.pull('r.example/library/app:v1')).rejects.toMatchObject({
    code: 'UNAUTHORIZED',
  });
});
