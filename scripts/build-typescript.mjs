// Compiles src/ into dist/.
//   node scripts/build-typescript.mjs [--if-changed]
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { isUpToDate, sourceHash, writeStamp } from './build-stamp.mjs';

const STAMP = 'dist/.cais-sources';

process.chdir(join(import.meta.dirname, '..'));
const require = createRequire(import.meta.url);

const hash = sourceHash(
  ['src', 'tsconfig.json', 'tsconfig.build.json'],
  [JSON.parse(readFileSync('node_modules/typescript/package.json', 'utf8')).version],
);
if (
  !process.argv.includes('--if-changed') ||
  !isUpToDate(STAMP, { hash, products: ['dist/native.js'] })
) {
  console.log('setup: compiling src/ into dist/ (tsc)');
  // What a deleted source left behind would still be importable.
  rmSync('dist', { recursive: true, force: true });
  const compiler = require.resolve('typescript/bin/tsc');
  const { status } = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (status !== 0) {
    console.error('TypeScript build failed');
    process.exit(1);
  }
  writeStamp(STAMP, hash);
}
