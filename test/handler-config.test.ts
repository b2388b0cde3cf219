import { describe, expect, it } from 'vitest';
import { loadConfig } from '../src/config.js';

describe('loadConfig(), handlers', () => {
  it('knows "native" always, and takes it by default', () => {
    expect(loadConfig()).toMatchObject({
      handlers: { native: { type: 'native' } },
      defaultHandler: 'native',
    });
    const runc = { type: 'oci', path: '/usr/sbin/runc', options: ['--debug'] } as const;
    expect(loadConfig({ handlers: { runc }, defaultHandler: 'runc' })).toMatchObject({
      handlers: { native: { type: 'native' }, runc },
      defaultHandler: 'runc',
    });
  });

  it.each([
    [{ 'a b': { type: 'native' } }, 'a name of lower-case letters'],
    [{ a: 'runc' }, 'an object'],
    [{ a: { type: 'vm' } }, 'the type "native" or "oci"'],
    [{ a: { type: 'native', path: '/x' } }, 'no key but "cniConfDir" for the type "native"'],
    [{ a: { type: 'native', cniConfDir: 'net.d' } }, 'an absolute "cniConfDir"'],
    [{ a: { type: 'oci' } }, 'an absolute "path"'],
    [{ a: { type: 'oci', path: 'runc' } }, 'an absolute "path"'],
    [{ a: { type: 'oci', path: '/x', root: 'y' } }, 'an absolute "root"'],
    [{ a: { type: 'oci', path: '/x', options: '--debug' } }, 'a list of "options"'],
    [{ a: { type: 'oci', path: '/x', options: ['debug'] } }, 'options that begin with "-"'],
    [{ a: { type: 'oci', path: '/x', options: ['--root=/y'] } }, 'which cais gives'],
    [{ a: { type: 'oci', path: '/x', extra: 1 } }, 'no key "extra"'],
  ])('refuses %j', (handlers, message) => {
    expect(() => loadConfig({ handlers } as object)).toThrow(message);
  });

  it('refuses a default handler that is not among them', () => {
    expect(() => loadConfig({ defaultHandler: 'toString' })).toThrow(
      'Configuration key "defaultHandler": expected one of native, received "toString"',
    );
  });
});
