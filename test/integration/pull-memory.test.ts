import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { LoopbackRegistry } from '../../scripts/loopback-registry.mjs';
import { pushOciLayout } from '../../scripts/oci-layout.mjs';
import { startRegistry } from '../fixtures/docker-registry.js';
import { expectNoLeaks } from '../fixtures/leak-check.js';
import { writeImage } from '../fixtures/oci-image.js';

const run = promisify(execFile);
const REPOSITORY = join(import.meta.dirname, '../..');
const MIB = 2 ** 20;
const LAYER_BYTES = 1024 * MIB;
const PEAK_MAX_BYTES = 200 * MIB;

let directory: string;
let registry: LoopbackRegistry;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'cais-peak-'));
  registry = await startRegistry();
});
afterEach(async () => {
  await registry.stop();
  rmSync(directory, { recursive: true, force: true });
});

test.each(['zstd', 'none'] as const)(
  'pulling a layer of 1 GiB takes less than 200 MiB of memory (compression: %s)',
  { timeout: 300_000 },
  async (compression) => {
    const layout = writeImage(join(directory, 'layout'), {
      layers: [{ tar: tarOfOneFile(LAYER_BYTES), compression }],
    });
    await pushOciLayout(layout, { registryUrl: registry.url, repository: 'big' });
    const root = join(directory, 'root');
    const peakFile = join(directory, 'peak');

    await run(
      join(REPOSITORY, 'bin/cais'),
      ['--root', root, '--run', join(directory, 'run'), 'pull', `${registry.host}/big`],
      {
        env: {
          ...process.env,
          NODE_OPTIONS: `--import=${join(REPOSITORY, 'test/fixtures/report-peak-memory.mjs')}`,
          PEAK_MEMORY_FILE: peakFile,
        },
      },
    );

    expect(Number(readFileSync(peakFile, 'utf8'))).toBeLessThan(PEAK_MAX_BYTES);
    await expectNoLeaks({ root, run: join(directory, 'run') });
  },
);

/** A tar with one file of about `sizeBytes` that does not compress. */
function tarOfOneFile(sizeBytes: number): Buffer {
  const header = Buffer.alloc(512);
  const contentBytes = sizeBytes - 3 * 512;
  header.write('big', 0);
  header.write('0000644\0', 100);
  header.write('0000000\0', 108);
  header.write('0000000\0', 116);
  header.write(`${contentBytes.toString(8).padStart(11, '0')}\0`, 124);
  header.write('00000000000\0', 136);
  header.write('        ', 148);
  header.write('0', 156);
  header.write('ustar\x0000', 257);
  const checksum = header.reduce((sum, byte) => sum + byte, 0);
  header.write(`${checksum.toString(8).padStart(6, '0')}\0 `, 148);

  const tar = Buffer.alloc(sizeBytes);
  // Longer than the windows of compressors, so that its repetitions are not found.
  const block = randomBytes(64 * MIB);
  tar.fill(block, 512, 512 + contentBytes);
  header.copy(tar);
  return tar;
}
