import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Credential } from '../../src/auth/credential.js';
import {
  CredentialHelperError,
  eraseFromHelper,
  getFromHelper,
  storeInHelper,
} from '../../src/auth/credential-helper.js';
import { parseDockerConfig } from '../../src/auth/docker-config.js';
import { DockerConfigKeyring, matchKeys, normalizeKey, serverKey } from '../../src/auth/keyring.js';

/** Keys that match, in order; the user name of each credential is its key. */
function matching(keys: readonly string[], repository: string): string[] {
  const auths = new Map(keys.map((key) => [key, Credential.password(key, 'p', 'test')]));
  return matchKeys(auths, repository).map((credential) => {
    const secret = credential.reveal();
    return secret.kind === 'password' ? secret.username : '';
  });
}

describe('matchKeys()', () => {
  it.each<[string[], string, string[]]>([
    [['*.example.com'], 'a.example.com/x', ['*.example.com']],
    [['*.example.com'], 'example.com/x', []],
    [['*.example.com'], 'a.b.example.com/x', []],
    [['app*.k8s.io'], 'app1.k8s.io/x', ['app*.k8s.io']],
    [['a?c.io', 'a[b-c]c.io', 'a[^b]c.io', 'a[.io'], 'abc.io/x', ['a[b-c]c.io', 'a?c.io']],
    [['quay.io/foo'], 'quay.io/foobar/x', ['quay.io/foo']],
    [['quay.io/foo/'], 'quay.io/foobar/x', []],
    [['host'], 'host:443/x', []],
    [['host:*'], 'host:443/x', []],
    [
      ['reg:5000', 'reg:5000/team', '*.other'],
      'reg:5000/teamwork/app',
      ['reg:5000/team', 'reg:5000'],
    ],
    [['*.io', 'quay.io'], 'quay.io/x', ['quay.io', '*.io']],
    [['https://index.docker.io/v1/'], 'docker.io/library/busybox', ['https://index.docker.io/v1/']],
    [['https://index.docker.io/v1'], 'docker.io/library/busybox', []],
    [['docker.io', 'https://index.docker.io/v1/'], 'docker.io/library/busybox', ['docker.io']],
    [['https://host/v2/team'], 'host/team/x', ['https://host/v2/team']],
  ])('%j for %s: %j', (keys, repository, expected) => {
    expect(matching(keys, repository)).toEqual(expected);
  });

  it('takes linear time for hostile globs', () => {
    expect(matching([`${'*a'.repeat(5_000)}b`], `${'a'.repeat(20_000)}/x`)).toEqual([]);
  });
});

it.each([
  ['https://index.docker.io/v1/', 'index.docker.io'],
  ['index.docker.io/v1', 'index.docker.io/v1'],
  ['http://host:5000/', 'host:5000'],
  ['host/v1/team', 'host/team'],
])('normalizeKey(%s) is %s', (server, key) => {
  expect(normalizeKey(server)).toBe(key);
});

it('serverKey() knows Docker Hub by its names, and refuses what is no host', () => {
  for (const name of ['docker.io', 'https://index.docker.io/v1/', 'registry-1.docker.io']) {
    expect(serverKey(name)).toEqual({ domain: 'docker.io', server: 'https://index.docker.io/v1/' });
  }
  expect(serverKey('https://host:5000')).toEqual({ domain: 'host:5000', server: 'host:5000' });
  expect(() => serverKey('host/path')).toThrow('expected a host');
});

it('a credential shows its secret to nobody', () => {
  const credential = Credential.password('u', 'hunter2', 'a test');
  const holder = { credential, list: [credential] };
  const shown = [
    inspect(holder, { depth: 9, showHidden: true }),
    JSON.stringify(holder),
    `${credential}`,
    ...Object.values(credential),
  ].join();
  expect(shown).not.toContain('hunter2');
  expect(credential.fingerprint()).not.toBe(
    Credential.password('u', 'other', 'a test').fingerprint(),
  );
});

describe('credential helpers', () => {
  let directory: string;
  let environment: NodeJS.ProcessEnv;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'cais-helper-'));
    environment = { PATH: `${directory}:${process.env['PATH']}` };
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  function install(name: string, script: string): void {
    const path = join(directory, `docker-credential-${name}`);
    writeFileSync(path, `#!/bin/sh\n${script}\n`);
    chmodSync(path, 0o755);
  }

  const failure = (promise: Promise<unknown>) =>
    promise.then(
      () => 'no error',
      (error) => (error instanceof CredentialHelperError ? error.message : error),
    );

  it('get: the server on stdin, the answer as a credential', async () => {
    install(
      'good',
      `test "$1" = get && read -r server; echo "{\\"Username\\":\\"$server\\",\\"Secret\\":\\"s\\"}"`,
    );
    expect((await getFromHelper('good', 'host:5000', { environment }))?.reveal()).toEqual({
      kind: 'password',
      username: 'host:5000',
      password: 's',
    });
    install('token', 'echo \'{"Username":"<token>","Secret":"t"}\'');
    expect((await getFromHelper('token', 'h', { environment }))?.reveal()).toEqual({
      kind: 'identityToken',
      token: 't',
    });
    install('none', 'echo "credentials not found in native keychain"; exit 1');
    expect(await getFromHelper('none', 'h', { environment })).toBeUndefined();
  });

  it('fails clearly, and shows nothing of the output', async () => {
    install('bad', 'echo secret; exit 3');
    expect(await failure(getFromHelper('bad', 'h', { environment }))).toBe(
      'Credential helper "docker-credential-bad" failed for "h" with status 3',
    );
    install('odd', 'echo secret');
    expect(await failure(getFromHelper('odd', 'h', { environment }))).not.toContain('secret');
    expect(await failure(getFromHelper('absent', 'h', { environment }))).toContain(
      'it is not installed',
    );
    expect(await failure(getFromHelper('../evil', 'h', { environment }))).toContain(
      'is not allowed',
    );
    install('flood', 'exec yes');
    expect(await failure(getFromHelper('flood', 'h', { environment }))).toContain('more than');
    install('stuck', 'exec sleep 100');
    expect(await failure(getFromHelper('stuck', 'h', { environment, timeoutMs: 100 }))).toContain(
      'did not answer within 100 ms',
    );
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(getFromHelper('stuck', 'h', { environment, signal })).rejects.toThrow('enough');
  });

  it('store and erase hand everything over by stdin', async () => {
    const saved = process.env['PATH'];
    process.env['PATH'] = environment['PATH'];
    try {
      install('keep', `echo "$@" > ${directory}/args; cat > ${directory}/input`);
      await storeInHelper('keep', { server: 'h', username: 'u', password: 'p' });
      expect(readFileSync(join(directory, 'args'), 'utf8')).toBe('store\n');
      expect(JSON.parse(readFileSync(join(directory, 'input'), 'utf8'))).toEqual({
        ServerURL: 'h',
        Username: 'u',
        Secret: 'p',
      });
      await eraseFromHelper('keep', 'h');
      expect(readFileSync(join(directory, 'input'), 'utf8')).toBe('h');
      const config = parseDockerConfig(
        '{"credHelpers":{"h":"ask"},"credsStore":"ask","auths":{"z":{"auth":"dTpw"}}}',
        'c.json',
      );
      install('ask', 'echo \'{"Username":"asked","Secret":"s"}\'');
      const keyring = new DockerConfigKeyring(async () => config);
      for (const repository of ['h/x', 'elsewhere/x']) {
        expect((await keyring.lookup(repository)).map((each) => each.reveal())).toEqual([
          { kind: 'password', username: 'asked', password: 's' },
        ]);
      }
      expect((await keyring.lookup('z/x'))[0]?.reveal()).toMatchObject({ username: 'u' });
      expect(await new DockerConfigKeyring(async () => undefined).lookup('z/x')).toEqual([]);
    } finally {
      process.env['PATH'] = saved;
    }
  });
});
