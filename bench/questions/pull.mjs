import { openMeasuredDisk, runBytes } from '../ballast.mjs';
import { describeError } from '../rounds.mjs';
import { askQuestion } from './ask.mjs';

/** @import { ConcurrentSummary, LimitSummary, Results, Workload } from '../contract.js' */
/** @import { QuestionOptions } from './ask.mjs' */

/**
 * Pulls eight different images at the same time, `rounds` times. Each round has a store on a file system of its own, which `open` makes; `beforehand` is
 * called right before it, with the workloads that the images are made of.
 * @typedef {(options: {
 *   readonly workloads: readonly Workload[],
 *   readonly rounds: number,
 *   readonly open: () => Promise<{ readonly directory: string, readonly close: () => Promise<void> }>,
 *   readonly beforehand: (pulled: readonly Workload[]) => Promise<void>,
 * }) => Promise<Omit<ConcurrentSummary, 'sumOfLimitsSeconds'>>} MeasureConcurrent
 *
 * @typedef {QuestionOptions & { readonly measureConcurrent: MeasureConcurrent }} PullOptions
 */

/**
 * From a registry on loopback to a root file system; and eight pulls at the same time.
 * @param {PullOptions} options
 * @returns {Promise<Results>}
 */
export async function askPull(options) {
  const results = await askQuestion('pull', options);
  const concurrent = await measureConcurrency(options, results.limits);
  return concurrent === undefined ? results : { ...results, concurrent };
}

/**
 * @param {PullOptions} options
 * @param {readonly LimitSummary[]} limits
 * @returns {Promise<ConcurrentSummary | undefined>}
 */
async function measureConcurrency(options, limits) {
  const { measureConcurrent, workloads, rounds, undo, ballast, say } = options;
  const open = () => openMeasuredDisk({ undo, ballast });
  /** @param {readonly Workload[]} pulled */
  const beforehand = (pulled) => ballast.lend(runBytes(pulled));
  try {
    say('pull: eight images at the same time');
    const measured = await measureConcurrent({ workloads, rounds, open, beforehand });
    return { ...measured, sumOfLimitsSeconds: sumLimits(measured.images, limits) };
  } catch (error) {
    if (undo.isClosing) throw error;
    say(`pull: eight images at the same time failed: ${describeError(error)}`);
    return undefined;
  }
}

/**
 * Sum of the limits of the image form over images whose names contain `debian-gzip` and the like.
 * @param {readonly string[]} images
 * @param {readonly LimitSummary[]} limits
 */
export function sumLimits(images, limits) {
  return images.reduce((sum, image) => {
    const limit = limits.find(
      ({ form, workload, compression }) =>
        form === 'image' && image.includes(`${workload}-${compression}`),
    );
    if (limit === undefined) throw new Error(`There is no limit for the image "${image}"`);
    return sum + limit.seconds;
  }, 0);
}
