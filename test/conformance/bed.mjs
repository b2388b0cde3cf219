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
 * @property {(...words: readonly string[]) => Promise<unknown>} load runs our own client (cmd/criload) to its end: what it reports
 * @property {(...words: readonly string[]) => import('./program.mjs').Program} startLoad leaves it running
 * @property {() => Promise<void>} close
 */

/**
 * @typedef {object} TestBedOptions
 * @property {string} [kind] see {@link describeRuntime}; cais by default
 * @property {GoTools} tools
 * @property {(line: string) => void} [say]
 * @property {NodeJS.ProcessEnv} [env] further environment of the runtime
 * @property {boolean} [keep] leaves the directory of the stage
 */

/**
 * @param {TestBedOptions} options
 * @returns {Promise<TestBed>}
 */
export async function openTestBed({
  kind = 'cais',
  tools,
  say = () => {},
  env = {},
  keep = false,
}) {
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
    const runtime = describeRuntime({ stage, mirrors, kind, env });
    await runtime.start();
    /** @param {readonly string[]} words */
    const loadCommand = ([command = '', ...rest]) => [
      ...[tools.criLoad, command, `--socket=${runtime.socket}`],
      ...rest,
    ];
    return {
      stage,
      tools,
      runtime,
      load: async (...words) => JSON.parse((await stage.run(loadCommand(words))).stdout),
      startLoad: (...words) => stage.start(loadCommand(words)),
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
