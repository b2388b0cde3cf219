import { statfsSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { openFreshDisk } from './fresh-disk.mjs';
import { runInterruptible } from './interruptible-command.mjs';
import { runLimitProgram } from './limit/measure.mjs';
import { runOnce } from './one-run.mjs';
import { describeError } from './rounds.mjs';
import { compareTrees, describeTree } from './trees.mjs';

/** @import { Ballast } from './ballast.mjs' */
/** @import { AfterwardsSummary, Contestant, QuestionName, RunPlace, Workload } from './contract.js' */
/** @import { OneRunOptions } from './one-run.mjs' */
/** @import { UndoStack } from './undo-stack.mjs' */

/**
 * @typedef {object} InspectionOptions
 * @property {QuestionName} question
 * @property {Workload} workload
 * @property {UndoStack} undo
 * @property {Ballast} ballast
 * @property {(message: string) => void} say
 */

/**
 * Looks at what a contestant leaves, which no round measures: whether the tree is right, and what it costs its user.
 * The first run of each contestant is looked at while everything is warm; reading the tree from the disk empties all caches of the
 * machine, so that has a run of its own, after all rounds.
 */
export class Inspection {
  /** @type {{ workload: string, contestant: string, differences: readonly string[] }[]} */
  trees = [];
  #options;
  /** @type {Awaited<ReturnType<typeof describeTree>> | undefined} */
  #reference;
  /** @type {Map<Contestant, Omit<AfterwardsSummary, 'readColdSeconds' | 'readWarmSeconds'>>} */
  #costs = new Map();

  /** @param {InspectionOptions} options */
  constructor(options) {
    this.#options = options;
  }

  /** Makes the reference tree with GNU tar out of the plain layers. */
  async prepare() {
    const { workload, undo } = this.#options;
    const disk = await undo.open(() => openFreshDisk());
    try {
      const directory = join(disk.opened.directory, 'reference');
      await mkdir(directory);
      for (const { tarPath } of workload.layers) {
        const options = ['--numeric-owner', '--xattrs', '--xattrs-include=*', '-p'];
        await runInterruptible(['tar', ...options, '-x', '-f', tarPath, '-C', directory], undo);
      }
      this.#reference = await describeTree(directory);
    } finally {
      await disk.close();
    }
  }

  /**
   * For the first run of a contestant.
   * @param {Contestant} contestant
   * @returns {Pick<OneRunOptions, 'beforehand' | 'afterwards'>}
   */
  observe(contestant) {
    let usedBytes = 0;
    return {
      beforehand: (place) => {
        usedBytes = usedBytesOf(place.directory);
      },
      afterwards: async (place) => {
        await runInterruptible(['sync', '--file-system', place.directory], this.#options.undo);
        const diskBytes = usedBytesOf(place.directory) - usedBytes;
        const { workload } = this.#options;
        /** @param {string} what @param {(() => Promise<number>) | undefined} step */
        const ask = (what, step) => this.#ask(`${contestant.name}: ${what}`, step);
        const firstStartSeconds = await ask(
          'first start',
          contestant.firstStart?.bind(contestant, place),
        );
        await this.#compare(contestant, place);
        const removeSeconds = await ask('removal', contestant.remove?.bind(contestant, place));
        this.#costs.set(contestant, {
          workload: workload.name,
          compression: workload.compression,
          contestant: contestant.name,
          diskBytes,
          ...(removeSeconds === undefined ? {} : { removeSeconds }),
          ...(firstStartSeconds === undefined ? {} : { firstStartSeconds }),
        });
      },
    };
  }

  /**
   * Reads the trees of the contestants that were looked at, cold and warm. The slow ones are left out, and of those that leave the same behind, whatever
   * helper programs they used, the first stands for all.
   * @param {{ readonly leaveOut: ReadonlySet<string> }} options names of further contestants that take too long
   * @returns {Promise<AfterwardsSummary[]>}
   */
  async readTrees({ leaveOut }) {
    const { question, workload, undo, ballast, say } = this.#options;
    const summaries = [];
    const seen = new Set();
    for (const [contestant, costs] of this.#costs) {
      const { product, version, form, slow = false } = contestant;
      // Without a store it is nothing but a tree on ext4.
      const kind = contestant.remove === undefined ? form : `${product} ${version} ${form}`;
      if (slow || leaveOut.has(contestant.name) || seen.has(kind)) continue;
      seen.add(kind);
      try {
        let times = { readColdSeconds: 0, readWarmSeconds: 0 };
        await runOnce(contestant, {
          question,
          workload,
          undo,
          ballast,
          afterwards: (place) =>
            contestant.tree(place, async (directory) => {
              times = await readColdAndWarm(directory, undo);
            }),
        });
        summaries.push({ ...costs, ...times });
        say(
          `${question} ${workload.name} afterwards: ${contestant.name} reads cold in ${times.readColdSeconds.toFixed(2)} s, warm in ${times.readWarmSeconds.toFixed(2)} s`,
        );
      } catch (error) {
        if (undo.isClosing) throw error;
        say(`${contestant.name}: reading the tree failed: ${describeError(error)}`);
      }
    }
    return summaries;
  }

  /** @param {string} what @param {(() => Promise<number>) | undefined} step */
  async #ask(what, step) {
    try {
      return await step?.();
    } catch (error) {
      if (this.#options.undo.isClosing) throw error;
      this.#options.say(`${what} failed: ${describeError(error)}`);
      return undefined;
    }
  }

  /** @param {Contestant} contestant @param {RunPlace} place */
  async #compare(contestant, place) {
    /** @type {readonly string[]} */
    let differences = [];
    try {
      await contestant.tree(place, async (directory) => {
        if (this.#reference === undefined) throw new Error('There is no reference tree');
        differences = compareTrees(this.#reference, await describeTree(directory));
      });
    } catch (error) {
      if (this.#options.undo.isClosing) throw error;
      differences = [`The tree could not be compared: ${describeError(error)}`];
    }
    if (differences.length > 0) {
      this.#options.say(`${contestant.name}: ${differences.length} differences from the reference`);
    }
    this.trees.push({
      workload: this.#options.workload.name,
      contestant: contestant.name,
      differences,
    });
  }
}

/** @param {string} directory @param {UndoStack} undo */
async function readColdAndWarm(directory, undo) {
  await runInterruptible(['sync'], undo);
  writeFileSync('/proc/sys/vm/drop_caches', '3');
  const cold = await runLimitProgram(['read', directory], undo);
  const warm = await runLimitProgram(['read', directory], undo);
  return {
    readColdSeconds: cold['read']?.seconds ?? 0,
    readWarmSeconds: warm['read']?.seconds ?? 0,
  };
}

/** @param {string} directory */
function usedBytesOf(directory) {
  const { blocks, bfree, bsize } = statfsSync(directory);
  return (blocks - bfree) * bsize;
}
