import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../../../src/errors.js';
import { readConfiguration } from '../../../src/sandbox/cni/configuration.js';
import { parseNetworkList } from '../../../src/sandbox/cni/network-list.js';

const BRIDGE = { type: 'bridge', bridge: 'br7', capabilities: { portMappings: true } };
const list = (change: object = {}) => ({
  cniVersion: '1.0.0',
  name: 'pods',
  plugins: [BRIDGE],
  ...change,
});
const parse = (config: object) => parseNetworkList(JSON.stringify(config), { single: false });

describe('parseNetworkList()', () => {
  test('reads a list, and a single plugin as a list of one', () => {
    expect(parse(list())).toEqual({
      name: 'pods',
      version: '1.0.0',
      disableCheck: false,
      disableGc: false,
      takesFurtherPlugins: true,
      plugins: [BRIDGE],
    });
    const single = { cniVersion: '0.3.1', name: 'one', ...BRIDGE };
    expect(parseNetworkList(JSON.stringify(single), { single: true })).toMatchObject({
      name: 'one',
      version: '0.3.1',
      takesFurtherPlugins: false,
      plugins: [single],
    });
  });

  test.each([
    [{ cniVersion: '1.1.0' }, '1.1.0'],
    [{ cniVersion: '0.4.0', cniVersions: ['0.4.0', '1.1.0', '2.0.0'] }, '1.1.0'],
    [{ cniVersion: '7.0.0', cniVersions: ['0.3.1'] }, '0.3.1'],
    [{ cniVersion: '', cniVersions: ['1.0.0'] }, '1.0.0'],
  ])('takes the newest version that both speak: %j', (versions, expected) => {
    expect(parse(list(versions)).version).toBe(expected);
  });

  test.each([
    [{ name: undefined }, '"name" is missing'],
    [{ name: '../x' }, '"name" is "../x"'],
    [{ plugins: [] }, '"plugins" is []'],
    [{ plugins: undefined }, '"plugins" is missing'],
    [{ plugins: ['bridge'] }, 'a plugin is "bridge"'],
    [{ plugins: [{}] }, 'the "type" of a plugin is missing'],
    [{ plugins: [{ type: '../../bin/sh' }] }, 'expected a file name'],
    [{ plugins: [{ type: '..' }] }, 'expected a file name'],
    [{ plugins: [{ type: 'a', capabilities: ['dns'] }] }, '"capabilities" of plugin "a"'],
    [{ cniVersion: undefined }, '"cniVersion" is missing'],
    [{ cniVersion: '0.2.0' }, '"cniVersion" is ["0.2.0"]'],
    [{ cniVersions: '1.0.0' }, '"cniVersions" is "1.0.0"'],
    [{ disableCheck: 'perhaps' }, '"disableCheck" is "perhaps"'],
  ])('refuses %j', (change, message) => {
    expect(() => parse(list(change))).toThrow(message);
    expect(() => parse(list(change))).toThrow(InvalidArgumentError);
  });

  test('throws nothing but InvalidArgumentError, whatever the file holds', () => {
    const anything = fc.oneof(
      fc.string(),
      fc.json(),
      fc
        .record(
          { name: fc.anything(), cniVersion: fc.anything(), plugins: fc.anything() },
          { requiredKeys: [] },
        )
        .map(
          (value) => JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? `${v}` : v)) ?? '',
        ),
    );
    fc.assert(
      fc.property(anything, fc.boolean(), (text, single) => {
        try {
          const { plugins } = parseNetworkList(text, { single });
          for (const { type } of plugins) expect(type).not.toContain('/');
        } catch (error) {
          expect(error).toBeInstanceOf(InvalidArgumentError);
        }
      }),
    );
  });
});

describe('readConfiguration()', () => {
  let directory: string;
  const write = (name: string, content: object | string) =>
    writeFileSync(
      join(directory, name),
      typeof content === 'string' ? content : JSON.stringify(content),
    );
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'cais-cni-'));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  test('finds nothing where nothing is', async () => {
    expect(await readConfiguration(join(directory, 'none'))).toEqual({ problems: [] });
    write('README', 'x');
    expect(await readConfiguration(directory)).toEqual({ problems: [] });
  });

  test('takes the first valid file by name, and says what is wrong with those before', async () => {
    write('05-broken.conflist', '{');
    write('10-single.conf', { cniVersion: '0.3.1', name: 'single', type: 'ptp' });
    write('20-list.conflist', list());
    const { network, problems } = await readConfiguration(directory);
    expect(network?.name).toBe('single');
    expect(problems).toEqual([expect.stringContaining('05-broken.conflist": not JSON')]);
    rmSync(join(directory, '10-single.conf'));
    expect((await readConfiguration(directory)).network?.name).toBe('pods');
  });

  test('appends the plugins of the directory with the name of the network', async () => {
    write('10-list.conflist', list());
    mkdirSync(join(directory, 'pods'));
    write('pods/20-b.conf', { type: 'tuning' });
    write('pods/10-a.conf', { type: 'portmap' });
    const types = async () =>
      (await readConfiguration(directory)).network?.plugins.map(({ type }) => type);
    expect(await types()).toEqual(['bridge', 'portmap', 'tuning']);
    write('10-list.conflist', list({ loadOnlyInlinedPlugins: true }));
    expect(await types()).toEqual(['bridge']);
    write('10-list.conflist', list());
    write('pods/30-c.conf', { type: '/bin/sh' });
    expect(await readConfiguration(directory)).toEqual({
      problems: [expect.stringContaining('30-c.conf": the "type" of a plugin is "/bin/sh"')],
    });
  });

  test('reads no file without end', async () => {
    write('10-large.conflist', ' '.repeat(2 << 20));
    expect((await readConfiguration(directory)).problems).toEqual([
      expect.stringContaining('larger than 1048576 bytes'),
    ]);
  });
});
