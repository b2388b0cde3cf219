import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { expect, onTestFinished, test } from 'vitest';
import { END, member, rawHeader } from '../fixtures/raw-tar.js';

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

/** A layer of thousands of entries: directories of 999 empty files and symbolic links each. */
function* manyEntries(count: number): Generator<Buffer> {
  const inside = 999;
  for (let directory = 0; directory < count / (1 + inside); ++directory) {
    const name = `directory-${String(directory).padStart(4, '0')}/`;
    const headers = Buffer.alloc(512 * (inside + 1));
    rawHeader({ name, type: '5' }).copy(headers);
    // One header for all of a type: only digits differ, whose sum corrects the checksum.
    const templates = [
      rawHeader({ name: `${name}entry-000`, type: '0' }),
      rawHeader({ name: `${name}entry-000`, type: '2', link: `../${name}entry-000` }),
    ];
    const sums = templates.map((header) => Number.parseInt(header.toString('latin1', 148, 154), 8));
    for (let entry = 0; entry < inside; ++entry) {
      const at = 512 * (entry + 1);
      const digits = String(entry).padStart(3, '0');
      const sum = (sums[entry % 2] as number) + [...digits].reduce((a, b) => a + Number(b), 0);
      templates[entry % 2]?.copy(headers, at);
      headers.write(digits, at + name.length + 'entry-'.length);
      headers.write(sum.toString(8).padStart(6, '0'), at + 148);
    }
    yield headers;
  }
  yield END;
}

/** Bytes of the name and link target of an entry of {@link manyEntries}, on average at most. */
const TEXT_BYTES = 9 + 27 / 2;

/** In memory where there is such a place: the time of the test must not be that of a disk under load. */
const MEMORY_DIRECTORY = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

/** Directories with one small file in each. */
function* directories(count: number): Generator<Buffer> {
  for (let directory = 0; directory < count; ++directory) {
    yield rawHeader({ name: `${directory}/`, type: '5' });
    yield member({ name: `${directory}/file` }, 'x');
  }
  yield END;
}

/** Runs a layer through one job in a process of its own, which `command` starts: what it printed. */
async function measure(
  chunks: Iterable<Buffer>,
  [how, form]: readonly [string, string],
  { parent = tmpdir(), command = [] as readonly string[] } = {},
) {
  const directory = mkdtempSync(join(parent, 'cais-layer-memory-'));
  // Not by node, which takes longer to remove a million files than it took to make them.
  onTestFinished(() => void execFileSync('rm', ['-rf', directory]));
  const [program = '', ...rest] = [
    ...command,
    process.execPath,
    join(import.meta.dirname, 'layer-memory.mjs'),
    join(import.meta.dirname, '../../build/Release/cais.node'),
    directory,
    form,
    how,
  ];
  const child = spawn(program, rest, { stdio: ['pipe', 'pipe', 'inherit'] });
  const printed = text(child.stdout);
  await pipeline(Readable.from(chunks), createGzip({ level: 1 }), child.stdin);
  return JSON.parse(await printed);
}

test.each([
  ['write', 'image'],
  ['readFrom', 'directory'],
] as const)(
  'a layer of 1 GiB by %s, in %s form, takes less than 64 MiB of memory',
  async (...way) => {
    const result = await measure(layer(), way);
    expect(result).toMatchObject({ compression: 'gzip', entries: 16 });
    expect(result.tarBytes).toBeGreaterThan(LAYER_BYTES);
    expect(result.grownBytes).toBeLessThan(64 * MIB);
  },
  240_000,
);

test.each([
  [1_000_000, 'write', 'image'],
  // Fewer, since every one of them is a file on the disk.
  [200_000, 'readFrom', 'directory'],
] as const)(
  'a layer of %i entries by %s, in %s form, takes less than 64 MiB, 300 bytes an entry and its names',
  async (count, how, form) => {
    const result = await measure(manyEntries(count), [how, form], {
      parent: MEMORY_DIRECTORY,
    });
    expect(result).toMatchObject({ entries: count, tarBytes: 512 * (count + 2) });
    expect(result.grownBytes).toBeLessThan(64 * MIB + (300 + TEXT_BYTES) * count);
  },
  240_000,
);

// Files that wait to be made keep the directories open that they belong to. On one core many of them wait.
test('a layer of 6,000 directories with a file in each needs fewer than 600 descriptors', async () => {
  const result = await measure(directories(6000), ['readFrom', 'directory'], {
    parent: MEMORY_DIRECTORY,
    command: ['taskset', '--cpu-list', '0', 'prlimit', '--nofile=600:600'],
  });
  expect(result).toMatchObject({ entries: 12_000 });
}, 60_000);
