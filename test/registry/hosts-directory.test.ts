import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HostsDirectory } from '../../src/registry/hosts-directory.js';
import { HostsFileError } from '../../src/registry/hosts-file.js';
import { selfSigned } from './raw-server.js';

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'cais-certs.d-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function write(directory: string, files: Readonly<Record<string, string>>): void {
  mkdirSync(join(root, directory), { recursive: true });
  for (const [name, text] of Object.entries(files))
    writeFileSync(join(root, directory, name), text);
}

const endpointsOf = (domain: string, insecureRegistries: readonly string[] = []) =>
  new HostsDirectory({ path: root, insecureRegistries }).endpointsOf(domain);
const originsOf = async (domain: string) => (await endpointsOf(domain)).map(({ origin }) => origin);
const refusalOf = async (domain: string) => {
  const error = await endpointsOf(domain).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(HostsFileError);
  return (error as HostsFileError).message;
};
const mirror = (name: string) => ({ 'hosts.toml': `[host."https://${name}"]\n` });

describe('the directory of a registry', () => {
  it('is the one with the port in the form of file names, then the plain one, then _default', async () => {
    write('_default', mirror('default'));
    expect(await originsOf('r.example:5000')).toEqual([
      'https://default',
      'https://r.example:5000',
    ]);
    write('r.example:5000', mirror('plain'));
    expect(await originsOf('r.example:5000')).toEqual(['https://plain', 'https://r.example:5000']);
    write('r.example_5000_', mirror('escaped'));
    expect(await originsOf('r.example:5000')).toEqual([
      'https://escaped',
      'https://r.example:5000',
    ]);
    expect(await originsOf('r.example')).toEqual(['https://default', 'https://r.example']);
    write('[fd00::1]_5000_', mirror('six'));
    expect(await originsOf('[fd00::1]:5000')).toEqual(['https://six', 'https://[fd00::1]:5000']);
  });

  it('may be absent, and may be empty', async () => {
    expect(await originsOf('r.example')).toEqual(['https://r.example']);
    write('r.example', {});
    write('_default', mirror('default'));
    expect(await originsOf('r.example')).toEqual(['https://r.example']);
    rmSync(root, { recursive: true });
    expect(await originsOf('r.example')).toEqual(['https://r.example']);
  });

  it('is read anew each time', async () => {
    const hosts = new HostsDirectory({ path: root, insecureRegistries: [] });
    write('r.example', mirror('one'));
    expect((await hosts.endpointsOf('r.example'))[0]?.host).toBe('one');
    write('r.example', mirror('two'));
    expect((await hosts.endpointsOf('r.example'))[0]?.host).toBe('two');
  });
});

it('knows mirrors from the registry itself, under any of its names', async () => {
  write('docker.io', {
    'hosts.toml':
      'server = "https://docker.io"\n[host."https://registry-1.docker.io"]\n[host."https://m.example:443/hub"]\n',
  });
  expect(
    (await endpointsOf('docker.io')).map(({ host, apiPath, isMirror }) => [
      host,
      apiPath,
      isMirror,
    ]),
  ).toEqual([
    ['registry-1.docker.io', '/v2', false],
    ['m.example', '/hub/v2', true],
    ['docker.io', '/v2', false],
  ]);
});

it('takes certificates in the layout of Docker where there is no hosts.toml', async () => {
  const { cert, key } = selfSigned();
  write('r.example', {
    'ca.crt': cert,
    'client.cert': cert,
    'client.key': key,
    'both.cert': cert + key,
  });
  const [endpoint] = await endpointsOf('r.example');
  expect(endpoint?.origin).toBe('https://r.example');
  expect(endpoint?.connection?.secureContext).toBeDefined();
  expect(endpoint?.connection?.verifiesCertificates).toBe(true);
});

describe('refuses', () => {
  const host = (lines: string) => ({ 'hosts.toml': `[host."https://m.example"]\n${lines}\n` });

  it('a file that is too large, no file, or no TOML', async () => {
    write('large', { 'hosts.toml': '#'.repeat(2 ** 20 + 1) });
    expect(await refusalOf('large')).toContain(`large/hosts.toml": it is larger than`);
    write('directory/hosts.toml', {});
    expect(await refusalOf('directory')).toMatch(/directory\/hosts.toml": it is no file/);
    write('pipe', {});
    execFileSync('mkfifo', [join(root, 'pipe', 'hosts.toml')]);
    expect(await refusalOf('pipe')).toMatch(/pipe\/hosts.toml": it is no file/);
    write('broken', { 'hosts.toml': '[' });
    expect(await refusalOf('broken')).toMatch(/broken\/hosts.toml": line 1: /);
  });

  it('certificates that are missing or damaged, naming their file', async () => {
    const { cert, key } = selfSigned();
    const { key: otherKey } = selfSigned();
    write('r', { 'c.pem': cert, 'k.pem': key, 'o.pem': otherKey, 'bad.pem': 'no certificate' });
    write('r', host('ca = "none.pem"'));
    expect(await refusalOf('r')).toMatch(/r\/none.pem": the file named by "ca" is missing/);
    write('r', host('ca = "bad.pem"'));
    expect(await refusalOf('r')).toMatch(/r\/bad.pem": it holds no certificate/);
    write('r', host('client = [["c.pem", "none.pem"]]'));
    expect(await refusalOf('r')).toMatch(/r\/none.pem": the file named by "client" is missing/);
    write('r', host('client = [["c.pem", "o.pem"]]'));
    expect(await refusalOf('r')).toMatch(/hosts.toml": key "client": certificate and private key/);
    write('r', host('client = [["c.pem", "k.pem"]]'));
    expect((await endpointsOf('r'))[0]?.connection?.secureContext).toBeDefined();
  });

  it('a configuration in which nobody may be asked', async () => {
    write('r', { 'hosts.toml': 'capabilities = ["push"]' });
    expect(await refusalOf('r')).toContain('no host has the capability "pull" for images of r');
  });
});
