import { join } from 'node:path';
import { prepareImageStore } from './image-store.mjs';
import { writeMirrorTable } from './mirror-table.mjs';
import { describeRuntime, FOREIGN_CGROUPS } from './runtimes.mjs';
import { openStage } from './stage.mjs';
import { startStageRegistry } from './stage-registry.mjs';

/** @typedef {import('./stage.mjs').Stage} Stage */
/** @typedef {import('./go-tools.mjs').GoTools} GoTools */
/** @typedef {import('./runtimes.mjs').Runtime} Runtime */

/**
 * A stage with the registry of the test images and one runtime that listens.
 * @typedef {object} TestBed
 * @property {Stage} stage
 * @property {GoTools} tools
 * @property {Runtime} runtime
 * @property {() => Promise<void>} close
 */

/**
 * @typedef {object} TestBedOptions
 * @property {string} [kind] see {@link describeRuntime}; cais by default
 * @property {GoTools} tools
 * @property {(line: string) => void} [say]
 * @property {boolean} [keep] leaves the directory of the stage
 */

/**
 * @param {TestBedOptions} options
 * @returns {Promise<TestBed>}
 */
export async function openTestBed({ kind = 'cais', tools, say = () => {}, keep = false }) {
  const storage = await prepareImageStore(say);
  const stage = await openStage({
    path: [tools.directory],
    cgroups: FOREIGN_CGROUPS[kind] ?? [],
    keep,
  });
  try {
    const registry = await startStageRegistry(stage, storage);
    const mirrors = join(stage.directory, 'mirrors');
    writeMirrorTable(mirrors, registry.url);
    const runtime = describeRuntime({ stage, mirrors, kind });
    await runtime.start();
    return {
      stage,
      tools,
      runtime,
      close: async () => {
        try {
          await runtime.stop();
        } finally {
          await stage.close();
        }
      },
    };
  } catch (error) {
    await stage.close();
    throw error;
  }
}
