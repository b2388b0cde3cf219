// Fails when clang-format would change a C++ file (.clang-format has the style).
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';

process.chdir(join(import.meta.dirname, '..'));
const files = execFileSync('git', ['ls-files', '-z', '*.cc', '*.h'], { encoding: 'utf8' })
  .split('\0')
  .filter((file) => file !== '');
const { status, error } = spawnSync('clang-format', ['--dry-run', '-Werror', ...files], {
  stdio: ['ignore', 'inherit', 'inherit'],
});
if (error) throw new Error('Cannot run clang-format: run "npm run setup test"', { cause: error });
process.exit(status ?? 1);
