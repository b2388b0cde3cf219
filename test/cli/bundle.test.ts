import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';

const run = promisify(execFile);
const REPOSITORY = join(import.meta.dirname, '../..');

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'cais-bundle-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Runs `bin/cais`. @returns what it printed, and the files of the package (not of its dependencies) that it loaded. */
async function cais(...args: readonly string[]) {
  // Node lists every script that was loaded in its report of coverage.
  const coverage = mkdtempSync(join(directory, 'coverage-'));
  const roots = ['--root', join(directory, 'root'), '--run', join(directory, 'run')];
  const { stdout } = await run(join(REPOSITORY, 'bin/cais'), [...roots, ...args], {
    env: { ...process.env, NODE_V8_COVERAGE: coverage },
  });
  const loaded = readdirSync(coverage)
    .flatMap((name) => scriptsOf(join(coverage, name)))
    .map((path) => relative(REPOSITORY, path))
    .filter((path) => !path.startsWith('node_modules/'));
  return { stdout, loaded };
}

function scriptsOf(reportPath: string): string[] {
  const report: { result: { url: string }[] } = JSON.parse(readFileSync(reportPath, 'utf8'));
  return report.result
    .map(({ url }) => url)
    .filter((url) => url.startsWith('file:'))
    .map((url) => fileURLToPath(url));
}

/** Names of the error classes in the modules below a directory; the bundler writes `var A = class extends B`. */
function errorNames(path: string): string[] {
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.js'))
    .flatMap((name) => [
      ...readFileSync(join(path, name), 'utf8').matchAll(
        /(?:(\w+) = )?class(?: (\w+))? extends \w*Error\b/g,
      ),
    ])
    .map(([, variable = '', name = variable]) => name);
}

it('cais --version prints the version of the package and loads next to nothing', async () => {
  const { version } = JSON.parse(readFileSync(join(REPOSITORY, 'package.json'), 'utf8'));
  const { stdout, loaded } = await cais('--version');
  expect(stdout).toBe(`${version}\n`);
  expect(loaded).toContain('dist-cli/main.js');
  expect(loaded.length).toBeLessThanOrEqual(8);
  expect(loaded.filter((path) => path.includes('engine'))).toEqual([]);
});

it('cais images loads the engine in few files, nothing of cais serve, and nothing twice', async () => {
  const { loaded } = await cais('images');
  expect(loaded.filter((path) => path.startsWith('dist-cli/engine-'))).toHaveLength(1);
  expect(loaded.length).toBeLessThanOrEqual(30);
  expect(loaded.filter((path) => /server|serve-|observability/.test(path))).toEqual([]);
  // The same module from dist/ would be another one, with classes of its own.
  expect(loaded.filter((path) => !path.startsWith('dist-cli/'))).toEqual([]);
});

it('errors have the same names in the bundle', () => {
  const names = errorNames(join(REPOSITORY, 'dist-cli'));
  expect(names).toContain('RuntimeError');
  expect(errorNames(join(REPOSITORY, 'dist'))).toEqual(expect.arrayContaining(names));
});
