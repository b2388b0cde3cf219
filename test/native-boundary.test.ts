import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import ts from 'typescript';
import { expect, test } from 'vitest';
import { loadNative, NATIVE_ABI } from '../src/native.js';

const ROOT = join(import.meta.dirname, '..');
const EXPORTS_CC = readFileSync(join(ROOT, 'native/addon/exports.cc'), 'utf8');

/** Members of `interface NativeBinding`, in order. */
function declaredNames(): string[] {
  const path = join(ROOT, 'src/native.ts');
  const source = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest);
  const binding = source.statements.find(
    (statement): statement is ts.InterfaceDeclaration =>
      ts.isInterfaceDeclaration(statement) && statement.name.text === 'NativeBinding',
  );
  return (binding?.members ?? []).map((member) => (member.name as ts.Identifier).text);
}

test('exports.cc lists the names of NativeBinding in the same order', () => {
  const names = [...EXPORTS_CC.matchAll(/exports\.Set\("(\w+)"/g)].map(([, name]) => name);
  expect(declaredNames().length).toBeGreaterThan(10);
  expect(names).toEqual(declaredNames());
});

test('the addon that is built exports the names of NativeBinding in the same order', () => {
  const require = createRequire(import.meta.url);
  const addon = require(join(ROOT, 'build/Release/cais.node')) as Record<string, unknown>;
  expect(Object.keys(addon)).toEqual(declaredNames());
});

test('both sides have the same ABI number', () => {
  expect(/constexpr int kAbi = (\d+);/.exec(EXPORTS_CC)?.[1]).toBe(String(NATIVE_ABI));
  expect(loadNative().abi).toBe(NATIVE_ABI);
});
