import { expect, it } from 'vitest';
import { isLocalOnlyHost, registryHost } from '../../src/registry/hosts.js';

it.each([
  ['docker.io', [], 'https://registry-1.docker.io'],
  ['registry.example:5000', [], 'https://registry.example:5000'],
  ['registry.example:5000', ['registry.example:5000'], 'http://registry.example:5000'],
  ['registry.example:5000', ['registry.example'], 'http://registry.example:5000'],
  ['registry.example:5000', ['registry.example:6000'], 'https://registry.example:5000'],
  ['localhost:5000', [], 'http://localhost:5000'],
  ['127.9.9.9', [], 'http://127.9.9.9'],
  ['[::1]:80', [], 'http://[::1]:80'],
  ['[0:0:0:0:0:0:0:1]', [], 'http://[0:0:0:0:0:0:0:1]'],
  ['127.0.0.1.example', [], 'https://127.0.0.1.example'],
  ['[fd00::1]', [], 'https://[fd00::1]'],
])('registryHost(%s, %j) is at %s', (domain, insecure, origin) => {
  expect(registryHost(domain, insecure).origin).toBe(origin);
});

it.each([
  'localhost',
  '127.0.0.1',
  '[::1]',
  '169.254.169.254',
  '[fe80::1]',
  '[::ffff:7f00:1]',
  '0.0.0.0',
  '[::]',
])('isLocalOnlyHost(%s)', (host) => {
  expect(isLocalOnlyHost(host)).toBe(true);
});

it.each(['example', '10.0.0.1', '[fd00::1]', '[2001:db8::7f00:1]', '128.0.0.1'])(
  '%s may be a registry elsewhere',
  (host) => {
    expect(isLocalOnlyHost(host)).toBe(false);
  },
);
