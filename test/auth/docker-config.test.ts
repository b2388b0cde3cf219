import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  decodeAuth,
  dockerConfigPaths,
  loadDockerConfig,
  loginConfigPath,
  parseDockerConfig,
  updateDockerConfig,
} from '../../src/auth/docker-config.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cais-auth-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const encode = (text: string) => Buffer.from(text).toString('base64');
const parse = (document: unknown, path = '/x/config.json') =>
  parseDockerConfig(JSON.stringify(document), path);
const secretOf = (document: unknown, path?: string) =>
  parse(document, path).auths.get('host')?.reveal();

describe('parseDockerConfig()', () => {
  it.each([
    [{ auth: encode('u:p:w') }, { kind: 'password', username: 'u', password: 'p:w' }],
    [
      { auth: encode('u:p').replace(/=+$/, ''), username: 'x', password: 'y' },
      { kind: 'password', username: 'u', password: 'p' },
    ],
    [{ auth: encode('u:') }, { kind: 'password', username: 'u', password: '' }],
    [
      { username: 'u', password: 'p', email: 'e' },
      { kind: 'password', username: 'u', password: 'p' },
    ],
    [
      { identitytoken: 't', auth: encode('u:') },
      { kind: 'identityToken', token: 't' },
    ],
    [{ registrytoken: 't' }, { kind: 'registryToken', token: 't' }],
    [{}, undefined],
  ])('reads the entry %j', (entry, secret) => {
    expect(secretOf({ auths: { host: entry } })).toEqual(secret);
    expect(secretOf({ host: entry }, '/x/.dockercfg')).toEqual(secret);
  });

  it('reads helpers and the store', () => {
    const config = parse({ credHelpers: { 'gcr.io': 'gcloud' }, credsStore: 'pass' });
    expect([...config.credentialHelpers]).toEqual([['gcr.io', 'gcloud']]);
    expect(config.credentialStore).toBe('pass');
    expect(config.auths.size).toBe(0);
  });

  it.each([
    ['{bad', 'it is no JSON'],
    ['[]', 'it is no JSON object'],
    ['{"auths": []}', '"auths" is no object'],
    ['{"auths": {"h": 1}}', 'the entry of "h" is no object'],
    ['{"auths": {"h": {"auth": "?secret?"}}}', 'has an "auth" that is no base64'],
    [
      `{"auths": {"h": {"auth": "${encode('secretwithoutcolon')}"}}}`,
      'has an "auth" that is no base64',
    ],
    ['{"auths": {"h": {"username": 1}}}', 'has a "username" that is no string'],
  ])('refuses %s without showing it', (text, message) => {
    const error = (() => {
      try {
        parseDockerConfig(text, '/x/config.json');
      } catch (reason) {
        return reason as Error;
      }
      throw new Error('accepted');
    })();
    expect(error.message).toContain(message);
    expect(error.message).toContain('/x/config.json');
    expect(error.message + String(error.cause)).not.toContain('secret');
  });
});

it('decodeAuth() reads back every name without a colon and every password', () => {
  const word = fc.string({ unit: 'grapheme-ascii', minLength: 1 });
  fc.assert(
    fc.property(word, fc.string(), (username, password) => {
      fc.pre(!username.includes(':') && !password.endsWith('\0'));
      expect(decodeAuth(encode(`${username}:${password}`))).toEqual({ username, password });
    }),
  );
});

describe('loadDockerConfig()', () => {
  const write = (name: string, text: string) => {
    const path = join(directory, name);
    writeFileSync(path, text);
    return path;
  };

  it('takes the first file that parses, and merges nothing', async () => {
    const paths = [
      join(directory, 'absent'),
      write('bad', '{'),
      write('good', '{"auths":{"a":{"auth":"dTpw"}}}'),
      write('other', '{"auths":{"b":{"auth":"dTpw"}}}'),
    ];
    const config = await loadDockerConfig(paths);
    expect([...(config?.auths.keys() ?? [])]).toEqual(['a']);
    expect(await loadDockerConfig([write('empty', '{}'), ...paths])).toMatchObject({
      auths: new Map(),
    });
    expect(await loadDockerConfig([directory])).toBeUndefined();
  });

  it('looks where Docker does', () => {
    expect(dockerConfigPaths({ HOME: '/h', DOCKER_CONFIG: '/d' }).slice(0, 2)).toEqual([
      '/d/config.json',
      '/h/.docker/config.json',
    ]);
    expect(loginConfigPath({ HOME: '/h' })).toBe('/h/.docker/config.json');
    expect(loginConfigPath({ HOME: '/h', DOCKER_CONFIG: '/d' })).toBe('/d/config.json');
  });
});

describe('updateDockerConfig()', () => {
  it('keeps other entries and unknown fields, mode 0600', async () => {
    const path = join(directory, 'new', 'config.json');
    await updateDockerConfig(path, { server: 'a', auth: { username: 'u', password: 'p' } });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    writeFileSync(
      path,
      JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), HttpHeaders: { x: 'y' } }),
    );
    await updateDockerConfig(path, { server: 'b', auth: { username: 'v', password: 'q' } });
    await updateDockerConfig(path, { server: 'a', auth: undefined });
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({
      HttpHeaders: { x: 'y' },
      auths: { b: { auth: encode('v:q') } },
    });
  });

  it('does not overwrite a malformed file', async () => {
    const path = join(directory, 'config.json');
    writeFileSync(path, '{');
    await expect(updateDockerConfig(path, { server: 'a', auth: undefined })).rejects.toThrow(
      'no JSON',
    );
    expect(readFileSync(path, 'utf8')).toBe('{');
  });
});
