import { openFreshDisk } from '../fresh-disk.mjs';
import { describeError } from '../rounds.mjs';
import { askQuestion } from './ask.mjs';

/** @import { ConcurrentSummary, LimitSummary, Results, Workload } from '../contract.js' */
/** @import { QuestionOptions } from './ask.mjs' */

/**
 * Pulls eight different images at the same time, `rounds` times, into stores below `directory`.
 * @typedef {(options: { workloads: readonly Workload[], directory: string, rounds: number }) =>
 *   Promise<Omit<ConcurrentSummary, 'sumOfLimitsSeconds'>>} MeasureConcurrent
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
  const { measureConcurrent, workloads, rounds, undo, say } = options;
  const disk = await undo.open(() => openFreshDisk());
  try {
    say('pull: eight images at the same time');
    const { directory } = disk.opened;
    const measured = await measureConcurrent({ workloads, directory, rounds });
    return { ...measured, sumOfLimitsSeconds: sumLimits(measured.images, limits) };
  } catch (error) {
    if (undo.isClosing) throw error;
    say(`pull: eight images at the same time failed: ${describeError(error)}`);
    return undefined;
  } finally {
    await disk.close();
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
