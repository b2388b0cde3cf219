import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type AuthConfig, readAuthConfig } from '../../src/auth/auth-config.js';
import { InvalidArgumentError } from '../../src/errors.js';

const secretsOf = (config: AuthConfig) =>
  readAuthConfig(config).credentials.map((each) => each.reveal());
const password = (username: string, text: string) => ({
  kind: 'password',
  username,
  password: text,
});

it.each([
  ['user and password', { username: 'u', password: 'p' }, password('u', 'p')],
  ['a user without password', { username: 'u' }, password('u', '')],
  ['auth', { auth: btoa('u:p:q') }, password('u', 'p:q')],
  ['auth with NULs at its end', { auth: btoa('u:p\0\0') }, password('u', 'p')],
  ['an identity token', { identityToken: 't' }, { kind: 'identityToken', token: 't' }],
  ['a registry token', { registryToken: 't' }, { kind: 'registryToken', token: 't' }],
  ['user before tokens', { username: 'u', identityToken: 't', auth: '!' }, password('u', '')],
  [
    'an identity token before auth',
    { identityToken: 't', auth: btoa('u:p'), registryToken: 'r' },
    { kind: 'identityToken', token: 't' },
  ],
  ['auth before a registry token', { auth: btoa('u:p'), registryToken: 'r' }, password('u', 'p')],
])('reads %s', (_, config, expected) => {
  expect(secretsOf(config)).toEqual([expected]);
});

it('takes an empty one for anonymous', () => {
  const empty = { username: '', password: '', auth: '', serverAddress: '', identityToken: '' };
  expect(readAuthConfig(empty)).toEqual({ registry: undefined, credentials: [] });
});

it.each([
  ['https://index.docker.io/v1/', 'docker.io'],
  ['registry-1.docker.io', 'docker.io'],
  ['docker.io', 'docker.io'],
  ['r.example:5000', 'r.example:5000'],
  ['HTTPS://r.example/v2/team', 'r.example'],
])('knows the registry of %s', (serverAddress, registry) => {
  expect(readAuthConfig({ serverAddress }).registry).toBe(registry);
});

it('shows nothing of an auth that is none', () => {
  for (const auth of ['hunter2', btoa('hunter2'), 'hunter2!']) {
    expect(() => readAuthConfig({ auth })).toThrow(InvalidArgumentError);
    expect(() => readAuthConfig({ auth })).not.toThrow(/hunter2|aHVud/);
  }
});

it('answers anything with at most one credential, or refuses it', () => {
  const text = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.base64String());
  const configs = fc.record(
    {
      username: text,
      password: text,
      auth: text,
      serverAddress: text,
      identityToken: text,
      registryToken: text,
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(configs, (config) => {
      try {
        expect(readAuthConfig(config).credentials.length).toBeLessThanOrEqual(1);
      } catch (error) {
        expect(error).toBeInstanceOf(InvalidArgumentError);
      }
    }),
  );
});
