import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../src/config.js';
import { parseConfigFile, readConfigFile } from '../src/config-file.js';
import { InvalidArgumentError, NotFoundError } from '../src/errors.js';

const refusal = async (text: string) => {
  const error = await parseConfigFile(text, 'c.yaml').catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(InvalidArgumentError);
  return (error as Error).message;
};

it('reads settings, and leaves the rest to the defaults', async () => {
  const settings = await parseConfigFile(
    'root: /data\npinnedImages: [busybox, "*pause*"]\nlimits:\n  layerEntries: 5\nserve: { logLevel: debug }\n',
    'c.yaml',
  );
  const config = loadConfig(settings);
  expect(config).toMatchObject({
    root: '/data',
    run: '/run/cais',
    pinnedImages: ['busybox', '*pause*'],
    limits: { layerEntries: 5, diskReserveBytes: 64 * 2 ** 20 },
    serve: { logLevel: 'debug', streamAddress: '127.0.0.1:0' },
  });
  for (const empty of ['', '# nothing\n', '---\n']) {
    expect(await parseConfigFile(empty, 'c.yaml')).toEqual({});
  }
  expect(await parseConfigFile('{"root": "/json"}', 'c.yaml')).toEqual({ root: '/json' });
});

describe('refuses, naming file, line and key', () => {
  it.each([
    ['root: /x\nrot: /y', 'c.yaml:2: Configuration key "rot": no such key; known here: root, run,'],
    ['limits:\n  layerEntrys: 1', 'c.yaml:2: Configuration key "limits.layerEntrys": no such key'],
    ['serve:\n  logLevel: loud', 'c.yaml:2: Configuration key "serve.logLevel": expected one of'],
    ['root: 5', 'c.yaml:1: Configuration key "root": expected a text, received 5'],
    ['pinnedImages: busybox', 'c.yaml:1: Configuration key "pinnedImages": expected a list'],
    ['pinnedImages:', 'c.yaml:1: Configuration key "pinnedImages": expected a list of texts'],
    ['network: []', 'c.yaml:1: Configuration key "network": expected a map'],
    ['limits: { layerTarBytes: -1 }', 'Configuration key "limits.layerTarBytes": expected a whole'],
    ['registryConfigDir: certs.d', 'Configuration key "registryConfigDir": expected an absolute'],
    ['serve: { metricsAddress: "9090" }', 'expected an address with a port'],
    ['serve: { otlpEndpoint: "127.0.0.1" }', 'expected an http:// or https:// URL'],
    ['cgroupParent: /abs', "expected a relative path, received '/abs'"],
    ['root: /x\nroot: /y', 'c.yaml:2: Map keys must be unique'],
    ['- root', 'c.yaml:1: expected a map of settings'],
    ['root: [', 'c.yaml:1: '],
    ['__proto__: {}', 'Configuration key "__proto__": no such key'],
  ])('%s', async (text, message) => {
    expect(await refusal(text)).toContain(message);
  });
});

it('answers any text with settings that are good, or with its own error', async () => {
  const texts = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 200 }),
    fc.json().map((json) => `root: ${json}\nlimits: ${json}`),
    fc.jsonValue().map((value) => JSON.stringify({ serve: value, network: value })),
  );
  await fc.assert(
    fc.asyncProperty(texts, async (text) => {
      try {
        loadConfig(await parseConfigFile(text, 'c.yaml'));
      } catch (error) {
        expect(error).toBeInstanceOf(InvalidArgumentError);
      }
    }),
    { numRuns: 300 },
  );
});

it('every key is documented, with its default', () => {
  const text = readFileSync(new URL('../docs/CONFIGURATION.md', import.meta.url), 'utf8');
  for (const [key, value] of Object.entries(loadConfig())) {
    // Names of handlers are free.
    const isSection = typeof value === 'object' && !Array.isArray(value) && key !== 'handlers';
    const names = isSection ? Object.keys(value).map((name) => `${key}.${name}`) : [key];
    for (const name of names)
      expect(text, `docs/CONFIGURATION.md: ${name}`).toContain(`\`${name}\``);
  }
});

it('every key of the documentation exists', async () => {
  const text = readFileSync(new URL('../docs/CONFIGURATION.md', import.meta.url), 'utf8');
  const table = text.slice(0, text.indexOf('## Mirrors'));
  const names = [...table.matchAll(/^\| `([\w.]+)` \|/gm)].map(([, name = '']) => name);
  expect(names.length).toBeGreaterThan(10);
  for (const name of names) {
    const [section = '', key] = name.split('.');
    // A wrong value, which a key that exists refuses otherwise than a key that does not.
    const settings = key === undefined ? { [section]: 1n } : { [section]: { [key]: 1n } };
    const refuse = () => loadConfig(settings as object);
    expect(refuse, name).toThrow(/: expected /);
  }
});

describe('the file', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'cais-config-'));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it('must exist when it is named', async () => {
    const path = join(directory, 'c.yaml');
    await expect(readConfigFile(path)).rejects.toThrow(NotFoundError);
    writeFileSync(path, 'root: /data');
    expect(await readConfigFile(path)).toEqual({ root: '/data' });
    await expect(readConfigFile(directory)).rejects.toThrow(/: not a file$/);
    writeFileSync(path, '#'.repeat(2 ** 20 + 1));
    await expect(readConfigFile(path)).rejects.toThrow(/larger than/);
  });

  it('may not be a pipe, which would be waited for', async () => {
    const path = join(directory, 'pipe');
    execFileSync('mkfifo', [path]);
    await expect(readConfigFile(path)).rejects.toThrow(/: not a file$/);
  });
});
