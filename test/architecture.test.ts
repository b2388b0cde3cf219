import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findViolations } from './fixtures/architecture-rules.js';

const ROOT = join(import.meta.dirname, '..');
const DIRECTORIES = ['src', 'native', 'test', 'scripts', 'bench', 'examples', 'bin'];
const SOURCE = /\.(ts|mts|mjs|js|cc|h)$/;

function readSources(): Map<string, string> {
  const files = new Map<string, string>();
  for (const directory of DIRECTORIES) {
    for (const entry of listDirectory(join(ROOT, directory))) {
      const path = join(entry.parentPath, entry.name);
      if (entry.isFile() && SOURCE.test(entry.name)) {
        files.set(relative(ROOT, path), readFileSync(path, 'utf8'));
      }
    }
  }
  return files;
}

function listDirectory(directory: string) {
  try {
    return readdirSync(directory, { recursive: true, withFileTypes: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

test('the sources keep to the architecture', () => {
  const files = readSources();
  expect(files.size).toBeGreaterThan(20);
  expect(findViolations(files)).toEqual([]);
});

describe('findViolations()', () => {
  const check = (files: Record<string, string>) => findViolations(new Map(Object.entries(files)));

  test('accepts imports of the own directory and of lower ranks', () => {
    expect(
      check({
        'src/image/pull.ts':
          "import { a } from './manifest.js';\nimport { b } from '../errors.js';",
        'src/image/manifest.ts': 'export const a = 1;',
        'src/errors.ts': 'export const b = 1;',
      }),
    ).toEqual([]);
  });

  test.each([
    ["import { run } from '../pod/worker.js';", 'a value'],
    ["import type { Run } from '../pod/worker.js';", 'a type'],
    ["type Run = import('../pod/worker.js').Run;", 'an import type'],
    ["const worker = await import('../pod/worker.js');", 'a dynamic import'],
  ])('finds an import of a higher rank: %s (%s)', (text) => {
    expect(check({ 'src/image/pull.ts': text })).toEqual([
      'src/image/pull.ts: imports "src/pod/worker.ts": rank 5 may not know rank 10',
    ]);
  });

  test('finds a directory without a rank', () => {
    expect(check({ 'src/extras/a.ts': '' })).toEqual([
      'src/extras/a.ts: has no rank; see section 1 of docs/ARCHITECTURE.md',
    ]);
  });

  test('finds an import cycle of types inside one directory', () => {
    expect(
      check({
        'src/pod/a.ts': "import type { B } from './b.js';",
        'src/pod/b.ts': "import type { C } from './c.js';",
        'src/pod/c.ts': "import type { A } from './a.js';",
      }),
    ).toEqual([
      'src/pod/a.ts: import cycle: src/pod/a.ts → src/pod/b.ts → src/pod/c.ts → src/pod/a.ts',
    ]);
  });

  test('finds files that are too long, generated ones apart', () => {
    const long = 'const a = 1;\n'.repeat(501);
    expect(
      check({ 'src/pod/a.ts': long, 'native/kernel/a.cc': long, 'src/cri/generated/a.ts': long }),
    ).toEqual([
      'src/pod/a.ts: 501 lines; the limit is 400',
      'native/kernel/a.cc: 501 lines; the limit is 500',
    ]);
  });

  test('finds a second door to native code', () => {
    expect(
      check({
        'src/native.ts': "require('../build/Release/cais.node');",
        'src/image/a.ts': "require('../../build/Release/cais.node');",
        'src/image/b.ts': 'process.dlopen(module, path);',
      }),
    ).toEqual([
      'src/image/a.ts: reaches for native code (../../build/Release/cais.node); only src/native.ts does',
      'src/image/b.ts: reaches for native code (dlopen); only src/native.ts does',
    ]);
  });

  test('finds N-API outside of the addon and includes that go upwards', () => {
    expect(
      check({
        'native/addon/a.cc': '#include <napi.h>\n#include "layer/a.h"\n#include "kernel/a.h"',
        'native/kernel/a.cc': '#include <node_api.h>\n#include "layer/a.h"',
        'native/supervisor/a.cc':
          '  #include "addon/a.h"\n#include "kernel/a.h"\n#include <sys/a.h>',
      }),
    ).toEqual([
      'native/kernel/a.cc: includes "node_api.h"; only native/addon/ knows Node',
      'native/kernel/a.cc: includes "layer/a.h"; native/kernel/ may not know native/layer/',
      'native/supervisor/a.cc: includes "addon/a.h"; native/supervisor/ may not know native/addon/',
    ]);
  });

  test('finds protobuf outside of its door', () => {
    const text =
      "import { B } from '@bufbuild/protobuf/wire';\nimport { P } from './generated/api.js';";
    expect(
      check({
        'src/cri/convert-mount.ts': "import { P } from './generated/api.js';",
        'src/cri/image-service.ts': "import { P } from './generated/api.js';",
        'src/cri/events.ts': text,
        'src/cri/generated/api.ts': text.split('\n', 1).join(),
      }),
    ).toEqual([
      'src/cri/events.ts: imports "src/cri/generated/api.ts"; only the convert and service files of src/cri/ know protobuf',
      'src/cri/events.ts: imports "@bufbuild/protobuf/wire"; only the convert and service files of src/cri/ know protobuf',
    ]);
  });

  test('finds Kubernetes objects below the CRI', () => {
    expect(
      check({ 'src/cri/server.ts': "import type { Pod } from '../objects/store.js';" }),
    ).toEqual([
      'src/cri/server.ts: imports "src/objects/store.ts"; over CRI the kubelet does what objects/ and pod/ do',
    ]);
  });

  test('finds barrels and default exports', () => {
    expect(
      check({
        'src/pod/all.ts': "export { a } from './worker.js';",
        'src/index.ts': "export { a } from './pod/worker.js';\nexport * from './errors.js';",
        'src/pod/worker.ts': 'export default function work() {}',
        'src/pod/hooks.ts': 'const a = 1;\nexport default a;',
      }),
    ).toEqual([
      'src/pod/all.ts: re-exports; only src/index.ts does',
      'src/index.ts: re-exports by "*"; list the names',
      'src/pod/worker.ts: has a default export',
      'src/pod/hooks.ts: has a default export',
    ]);
  });

  test('finds drawers', () => {
    expect(check({ 'src/pod/utils.ts': '', 'test/helpers/a.ts': '' })).toEqual([
      'src/pod/utils.ts: "utils" is a drawer; name the concept',
      'test/helpers/a.ts: "helpers" is a drawer; name the concept',
    ]);
  });
});
