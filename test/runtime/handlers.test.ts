import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type HandlerConfig, loadConfig } from '../../src/config.js';
import { RuntimeHandlers } from '../../src/runtime/handlers.js';
import { NO_FEATURES, parseFeatures } from '../../src/runtime/oci-features.js';
import { deleteFromRuntime } from '../../src/runtime/oci-runtime.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cais-handlers-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const program = (script: string): string => {
  const path = join(directory, 'runtime');
  writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return path;
};
const handlersOf = (handlers: Record<string, HandlerConfig>, defaultHandler = 'native') =>
  new RuntimeHandlers({
    config: loadConfig({ handlers, defaultHandler }),
    nativeFeatures: { recursiveReadOnlyMounts: true, userNamespaces: true },
  });

describe('RuntimeHandlers', () => {
  it('resolve() gives the default one for no name and for an empty one', async () => {
    const path = program('exit 0');
    const handlers = handlersOf({ other: { type: 'oci', path, root: '/r' } }, 'other');
    const other = { name: 'other', oci: { program: path, options: [], root: '/r' } };
    await expect(handlers.resolve(undefined)).resolves.toEqual(other);
    await expect(handlers.resolve('')).resolves.toEqual(other);
    await expect(handlers.resolve('native')).resolves.toEqual({ name: 'native' });
  });

  it.each(['nope', 'constructor'])('resolve() refuses %s by its name', async (name) => {
    await expect(handlersOf({}).resolve(name)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: `Runtime handler "${name}" is not configured: expected one of native`,
    });
  });

  it('resolve() says when the program is not there', async () => {
    const handlers = handlersOf({ gone: { type: 'oci', path: '/nowhere/runc' } });
    await expect(handlers.resolve('gone')).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: expect.stringContaining('cannot execute "/nowhere/runc"'),
    });
  });

  it('list() asks a runtime what it can do, with its options', async () => {
    const path = program(
      '[ "$*" = "--flag features" ] && echo \'{"mountOptions":["ro","rro"],"linux":{"namespaces":["user"]}}\'',
    );
    const listed = await handlersOf({ a: { type: 'oci', path, options: ['--flag'] } }).list();
    expect(listed).toEqual([
      {
        name: 'native',
        type: 'native',
        isDefault: true,
        features: { recursiveReadOnlyMounts: true, userNamespaces: true },
      },
      {
        name: 'a',
        type: 'oci',
        isDefault: false,
        features: { recursiveReadOnlyMounts: true, userNamespaces: false },
      },
    ]);
  });

  it('list() promises nothing for a runtime that cannot be asked', async () => {
    const handlers = handlersOf({
      fails: { type: 'oci', path: program('exit 1') },
      gone: { type: 'oci', path: '/nowhere/runc' },
    });
    const features = (await handlers.list()).slice(1).map((handler) => handler.features);
    expect(features).toEqual([NO_FEATURES, NO_FEATURES]);
  });
});

describe('parseFeatures()', () => {
  it('promises nothing for a text that does not say it', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        expect(parseFeatures(text)).toEqual(NO_FEATURES);
      }),
    );
  });
});

describe('deleteFromRuntime()', () => {
  it('takes the state away when the runtime cannot', async () => {
    const root = join(directory, 'state');
    await deleteFromRuntime({ program: '/nowhere/runc', options: [] }, { id: 'x', root });
    const marker = join(directory, 'called');
    const path = program(`echo "$*" > ${marker}; exit 1`);
    await deleteFromRuntime({ program: path, options: ['--a'] }, { id: 'x', root });
    expect(readFileSync(marker, 'utf8')).toBe(`--a --root ${root} delete --force x\n`);
  });
});
