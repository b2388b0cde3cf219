/** @typedef {import('./soak.mjs').SoakResult} SoakResult */

const MEMORY_MAX_GROWTH_BYTES = 20 * 2 ** 20;

/**
 * What grew although every session is over, a line each.
 * @param {SoakResult} result
 */
export function findGrowth({ before, after }) {
  /** @type {(name: string, from: number, to: number, limit?: number) => string[]} */
  const grew = (name, from, to, limit = 0) =>
    to > from + limit ? [`${name}: from ${from} to ${to}`] : [];
  return [
    ...grew('descriptors', before.runtime.descriptors, after.runtime.descriptors),
    ...grew('threads', before.runtime.threads, after.runtime.threads),
    ...grew(
      'resident memory',
      before.runtime.residentBytes,
      after.runtime.residentBytes,
      MEMORY_MAX_GROWTH_BYTES,
    ),
    ...grew('heap', before.heapBytes, after.heapBytes, MEMORY_MAX_GROWTH_BYTES),
    ...grew("supervisors' descriptors", before.supervisorDescriptors, after.supervisorDescriptors),
    ...grew("supervisors' threads", before.supervisorThreads, after.supervisorThreads),
    ...grew("supervisors' memory", before.supervisorBytes, after.supervisorBytes, 2 ** 20),
  ];
}
