import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { publishDirectory } from '../../bench/cache.mjs';
import { startLoopbackRegistry } from '../../scripts/loopback-registry.mjs';
import { pushOciLayout, writeOciLayout } from '../../scripts/oci-layout.mjs';
import { conformanceCache, recipeHash } from './cache-directory.mjs';
import { unpackDebianPackages } from './debian-packages.mjs';
import { makeLayerTars, PACKAGES } from './image-contents.mjs';
import { testImages } from './test-images.mjs';

const HERE = import.meta.dirname;
const SOURCES = join(HERE, 'images');

/** What the images depend on besides the packages, which stay those of the day they were fetched. */
const RECIPE = [
  join(HERE, 'image-contents.mjs'),
  join(HERE, 'test-images.mjs'),
  join(SOURCES, 'effective_uid.c'),
  join(SOURCES, 'pause.c'),
];

/**
 * The storage directory of a docker-registry that holds every image critest asks for: made from Debian packages, or found as an
 * earlier run left it in the cache. A registry that serves it read-only changes nothing in it.
 * @param {(line: string) => void} say
 * @returns {Promise<string>}
 */
export async function prepareImageStore(say) {
  const directory = join(
    conformanceCache(),
    `images-${recipeHash({ texts: [process.arch], files: RECIPE })}`,
  );
  if (!existsSync(directory)) {
    mkdirSync(conformanceCache(), { recursive: true });
    say(`making the test images in ${directory} (once)`);
    await publishDirectory(directory, makeImages);
  }
  return join(directory, 'registry');
}

/** @param {string} directory */
async function makeImages(directory) {
  const work = join(directory, 'work');
  const packages = join(work, 'packages');
  const trees = join(work, 'trees');
  mkdirSync(trees, { recursive: true });
  await unpackDebianPackages(packages, PACKAGES);
  const tars = await makeLayerTars({ packages, sources: SOURCES, work: trees });
  const registry = await startLoopbackRegistry({ storageDirectory: join(directory, 'registry') });
  try {
    for (const [index, { names, layers, config }] of testImages(tars).entries()) {
      const layout = writeOciLayout(join(work, `image-${index}`), {
        layers: layers.map((tar) => ({ tar })),
        config,
      });
      for (const name of names) {
        const [repository = '', tag = ''] = name.split(':');
        await pushOciLayout(layout, { registryUrl: registry.url, repository, tag });
      }
    }
  } finally {
    await registry.stop();
  }
  rmSync(work, { recursive: true, force: true });
}
