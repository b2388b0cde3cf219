import { closeSync, constants, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Digest } from '../../src/digest.js';
import { type LayerForm, type LayerResult, loadNative } from '../../src/native.js';
import { failureOf, TestJob } from '../fixtures/layer-job.js';
import { LayerRoot } from '../fixtures/layer-root.js';
import { type LayerEntry, makeLayerTar } from '../fixtures/layer-tar.js';
import { compareTrees, readTree, type Tree } from '../fixtures/tree-compare.js';

/** open(2) O_PATH. */
const O_PATH = 0o10000000;
/** Property tests end in time also on a busy machine. */
const TIME_LIMIT_MS = 12_000;

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'cais-forms-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

// Few names, so that entries meet: replace each other, go through each other's links, remove each other.
const part = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom('a', 'b', 'c') },
  { weight: 2, arbitrary: fc.constantFrom('.wh.a', '.wh.b', '.wh..wh..opq') },
  { weight: 2, arbitrary: fc.constantFrom('..', '.', '') },
  { weight: 1, arbitrary: fc.constantFrom('.wh..wh.x', '.wh.', 'ä'.repeat(127)) },
);
const path = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
const rootedPath = fc
  .tuple(fc.constantFrom('', '', '/', './', '../'), path)
  .map(([start, rest]) => start + rest);
const attributes = {
  mode: fc.constantFrom(0o755, 0o644, 0o4711, 0o1777, 0),
  uid: fc.constantFrom(0, 1000, 70_000),
  mtime: fc.constantFrom('0', '1700000000.123456789', '-5.5', '99999999999'),
  xattrs: fc.constantFrom(
    {},
    {},
    { 'user.x': 'y' },
    { 'trusted.overlay.opaque': 'y', 'trusted.t': 't' },
  ),
};
const entry: fc.Arbitrary<LayerEntry> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      name: rootedPath,
      type: fc.constant('file' as const),
      content: fc.constantFrom('', 'x', 'y'.repeat(700)),
      ...attributes,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      name: rootedPath,
      type: fc.constant('directory' as const),
      ...attributes,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      name: rootedPath,
      type: fc.constant('symlink' as const),
      linkname: rootedPath.map((target) => target || '.'),
      ...attributes,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      name: rootedPath,
      type: fc.constant('link' as const),
      linkname: rootedPath,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      name: rootedPath,
      type: fc.constantFrom('fifo' as const, 'character-device' as const),
      device: fc.constant({ major: 5, minor: 1 }),
      ...attributes,
    }),
  },
);

/** One layer through one job: its result and how its tree is seen, or the refusal. */
async function make(form: LayerForm, entries: readonly LayerEntry[]) {
  const job = new TestJob(root, { form, saveBlob: false });
  const layer = join(job.directory, 'layer');
  return {
    run: async (): Promise<LayerResult> => job.run(await makeLayerTar(entries)),
    open: async (): Promise<number> =>
      form === 'image'
        ? loadNative().mountLayerImage(layer)
        : openSync(layer, O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW),
    removeDiscarded: () =>
      rmSync(join(job.directory, 'discarded'), { recursive: true, force: true }),
    remove: () => rmSync(job.directory, { recursive: true, force: true }),
  };
}

/** Undefined when the layer is made. */
async function refusal(form: LayerForm, entries: readonly LayerEntry[]) {
  const layer = await make(form, entries);
  const made = layer.run();
  try {
    return await made.then(
      () => undefined,
      () => failureOf(made),
    );
  } finally {
    layer.remove();
  }
}

/** Without the entries that are refused after those before them; both forms must refuse the same. */
async function acceptable(entries: readonly LayerEntry[]): Promise<LayerEntry[]> {
  const accepted: LayerEntry[] = [];
  for (const next of entries) {
    const refused = await refusal('image', [...accepted, next]);
    if (refused === undefined) accepted.push(next);
    else expect(await refusal('directory', [...accepted, next])).toBe(refused);
  }
  return accepted;
}

async function makeAndRead(form: LayerForm, entries: readonly LayerEntry[]) {
  const layer = await make(form, entries);
  try {
    const { diffId, entries: count, impliedDirectories } = await layer.run();
    // As who publishes a layer does. Names of a file in a directory that was replaced would count as its links.
    layer.removeDiscarded();
    const fd = await layer.open();
    try {
      const implied = impliedDirectories.map((name) => name.toString('latin1'));
      return { diffId, count, implied, tree: readTree(fd) };
    } finally {
      closeSync(fd);
    }
  } finally {
    layer.remove();
  }
}

function expectAlike(image: Tree, directory: Tree): void {
  expect(compareTrees(image, directory)).toEqual([]);
}

describe('both forms', () => {
  test('of a layer show the same tree and refuse the same entries, whatever the tar has', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { minLength: 1, maxLength: 14 }), async (entries) => {
        const accepted = await acceptable(entries);
        const { tree: image, ...imageFacts } = await makeAndRead('image', accepted);
        const { tree: directory, ...directoryFacts } = await makeAndRead('directory', accepted);
        expect(directoryFacts).toEqual(imageFacts);
        expectAlike(image, directory);
      }),
      { numRuns: 60, interruptAfterTimeLimit: TIME_LIMIT_MS },
    );
  });

  test('of a chain show the same tree, mended alike', async () => {
    const roots = await Promise.all(
      (['image', 'directory'] as const).map((layerForm) => LayerRoot.create({ layerForm })),
    );
    try {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.array(entry, { minLength: 1, maxLength: 6 }), { minLength: 2, maxLength: 3 }),
          async (layers) => {
            const tars: Buffer[] = [];
            for (const entries of layers) {
              // Copies of one layer in a chain would be one layer twice, which overlayfs refuses.
              const own = { name: `own-${tars.length}`, content: String(tars.length) };
              tars.push(await makeLayerTar([own, ...(await acceptable(entries))]));
            }
            const [image, directory] = await Promise.all(
              roots.map(async (each) => {
                const chain: Digest[] = [];
                for (const tar of tars) chain.push(await each.ingest(tar));
                return each.readChain(chain);
              }),
            );
            expectAlike(image as Tree, directory as Tree);
          },
        ),
        { numRuns: 25, interruptAfterTimeLimit: TIME_LIMIT_MS },
      );
    } finally {
      for (const each of roots) await each.remove();
    }
  });
});

// Where the parents of an entry lead is remembered for the next one; an entry elsewhere in between makes it forgotten.
describe('what an entry means', () => {
  const elsewhere: LayerEntry = { name: 'elsewhere/file', content: 'x' };

  test('does not depend on an entry elsewhere right before it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { minLength: 2, maxLength: 14 }), async (entries) => {
        const accepted = await acceptable([elsewhere, ...entries]);
        const { tree: plain } = await makeAndRead('image', accepted);
        const { tree: apart } = await makeAndRead(
          'image',
          accepted.flatMap((each) => [each, elsewhere]),
        );
        expectAlike(apart, plain);
      }),
      { numRuns: 40, interruptAfterTimeLimit: TIME_LIMIT_MS },
    );
  });

  test.each<[string, LayerEntry[], string[]]>([
    [
      'a link in place of the directory of the entry before',
      [
        { name: 'd/one', content: '1' },
        { name: 'd', type: 'symlink', linkname: 'e' },
        { name: 'd/two', content: '2' },
      ],
      ['d', 'e', 'e/two'],
    ],
    [
      'a hard link in place of a directory above, and a directory again',
      [
        { name: 'file', content: 'f' },
        { name: 'd/sub/one', content: '1' },
        { name: 'd', type: 'link', linkname: 'file' },
        { name: 'd', type: 'directory' },
        { name: 'd/sub/two', content: '2' },
      ],
      ['d', 'd/sub', 'd/sub/two', 'file'],
    ],
    [
      'a link whose way leads through another one that comes later',
      [
        { name: 'deep/er/file', content: 'x' },
        { name: 'l', type: 'symlink', linkname: 'm/../n' },
        { name: 'l/one', content: '1' },
        { name: 'm', type: 'symlink', linkname: 'deep/er' },
        { name: 'l/two', content: '2' },
      ],
      ['deep', 'deep/er', 'deep/er/file', 'deep/n', 'deep/n/two', 'l', 'm', 'n', 'n/one'],
    ],
  ])('follows %s', async (_, entries, expected) => {
    const { tree } = await makeAndRead('image', entries);
    expect([...tree.keys()].filter((name) => name !== '.' && name !== '').sort()).toEqual(expected);
  });
});
