import { openMeasuredDisk, runBytes } from './ballast.mjs';
import { openPlace } from './place.mjs';

/** @import { Ballast } from './ballast.mjs' */
/** @import { PlacementWatch } from './placement.mjs' */
/** @import { Contestant, QuestionName, RunCost, RunPlace, Workload } from './contract.js' */
/** @import { UndoStack } from './undo-stack.mjs' */

/**
 * @typedef {object} OneRunOptions
 * @property {QuestionName} question
 * @property {Workload} workload
 * @property {UndoStack} undo
 * @property {Ballast} ballast
 * @property {PlacementWatch} [placement] none: what it costs does not count
 * @property {(place: RunPlace) => void} [beforehand] called when everything is prepared
 * @property {(place: RunPlace) => Promise<void>} [afterwards] called while the result still stands
 */

/**
 * Runs a contestant once, on a file system of its own, which is gone afterwards.
 * @param {Contestant} contestant
 * @param {OneRunOptions} options
 * @returns {Promise<RunCost>}
 */
export async function runOnce(contestant, options) {
  const { question, workload, undo, ballast, placement, beforehand, afterwards } = options;
  const disk = await openMeasuredDisk({ undo, ballast });
  try {
    const { directory } = disk;
    const place = await undo.open(() => openPlace({ question, workload, directory }));
    try {
      const run = await undo.open(async () => ({
        close: () => contestant.cleanup(place.opened.place),
      }));
      try {
        await contestant.prepare(place.opened.place);
        beforehand?.(place.opened.place);
        const lend = () => ballast.lend(runBytes([workload]));
        const run = () => place.opened.measure(() => contestant.execute(place.opened.place));
        const cost = await (placement === undefined
          ? lend().then(run)
          : placement.during(run, lend).then(withPlacement));
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

/** @param {{ readonly value: RunCost, readonly placement: RunCost['placement'] }} measured @returns {RunCost} */
function withPlacement({ value, placement }) {
  return { ...value, placement };
}
