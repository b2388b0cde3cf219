import { openFreshDisk } from './fresh-disk.mjs';
import { runLimitProgram } from './limit/measure.mjs';
import { openPlace } from './place.mjs';

/** @import { Contestant, QuestionName, RunCost, RunPlace, Workload } from './contract.js' */
/** @import { UndoStack } from './undo-stack.mjs' */

/**
 * @typedef {object} OneRunOptions
 * @property {QuestionName} question
 * @property {Workload} workload
 * @property {UndoStack} undo
 * @property {(place: RunPlace) => void} [beforehand] called when everything is prepared
 * @property {(place: RunPlace) => Promise<void>} [afterwards] called while the result still stands
 */

/**
 * Runs a contestant once, on a file system of its own, which is gone afterwards.
 * @param {Contestant} contestant
 * @param {OneRunOptions} options
 * @returns {Promise<RunCost>}
 */
export async function runOnce(contestant, { question, workload, undo, beforehand, afterwards }) {
  const disk = await undo.open(() => openFreshDisk());
  try {
    const { directory } = disk.opened;
    const place = await undo.open(() => openPlace({ question, workload, directory }));
    try {
      const run = await undo.open(async () => ({
        close: () => contestant.cleanup(place.opened.place),
      }));
      try {
        await contestant.prepare(place.opened.place);
        beforehand?.(place.opened.place);
        await makeResident([workload], undo);
        const cost = await place.opened.measure(() => contestant.execute(place.opened.place));
        await afterwards?.(place.opened.place);
        return cost;
      } finally {
        await run.close();
      }
    } finally {
      await place.close();
    }
  } finally {
    await disk.close();
  }
}

/**
 * Touches as much memory as runs of these workloads fill with pages: blobs, and tar or tree; a quarter more for whatever is around them.
 * @param {readonly Workload[]} workloads
 * @param {UndoStack} undo
 */
export async function makeResident(workloads, undo) {
  const blobBytes = workloads.flatMap(({ layers }) => layers.map((layer) => layer.blobBytes));
  const tarBytes = workloads.map((workload) => workload.tarBytes);
  const bytes = [...blobBytes, ...tarBytes].reduce((sum, each) => sum + each, 0);
  await runLimitProgram(['resident', String(Math.ceil(1.25 * bytes))], undo);
}
