import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { expect, onTestFinished, test } from 'vitest';
import { END, rawHeader } from '../fixtures/raw-tar.js';

const MIB = 2 ** 20;
const LAYER_BYTES = 2 ** 30;
const FILE_BYTES = 64 * MIB;

/** A layer of 1 GiB: parts that nothing compresses between parts that compress a thousandfold. */
function* layer(): Generator<Buffer> {
  const random = randomBytes(MIB);
  const zeros = Buffer.alloc(15 * MIB);
  for (let file = 0; file < LAYER_BYTES / FILE_BYTES; ++file) {
    yield rawHeader({ name: `file${file}`, size: FILE_BYTES });
    for (let at = 0; at < FILE_BYTES; at += 16 * MIB) {
      yield random;
      yield zeros;
    }
  }
  yield END;
}

test.each([
  ['write', 'image'],
  ['readFrom', 'directory'],
])(
  'a layer of 1 GiB by %s, in %s form, takes less than 64 MiB of memory',
  async (how, form) => {
    const directory = mkdtempSync(join(tmpdir(), 'cais-layer-memory-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const child = spawn(
      process.execPath,
      [
        join(import.meta.dirname, 'layer-memory.mjs'),
        join(import.meta.dirname, '../../build/Release/cais.node'),
        directory,
        form,
        how,
      ],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    const printed = text(child.stdout);
    await pipeline(Readable.from(layer()), createGzip({ level: 1 }), child.stdin);
    const result = JSON.parse(await printed);
    expect(result).toMatchObject({ compression: 'gzip', entries: 16 });
    expect(result.tarBytes).toBeGreaterThan(LAYER_BYTES);
    expect(result.grownBytes).toBeLessThan(64 * MIB);
  },
  240_000,
);
