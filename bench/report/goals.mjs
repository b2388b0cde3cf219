import { isCais, limitOf, runsOf, subjectsOf } from './selection.mjs';

/** @import { QuestionName, Results, RunSummary, WorkloadName } from '../contract.js' */
/** @import { Subject } from './selection.mjs' */

/**
 * One thing that was promised, and what came of it.
 * @typedef {object} Goal
 * @property {string} what
 * @property {string} where workload and compression, or what else it is about
 * @property {'at most' | 'at least' | 'below'} relation
 * @property {number} bound
 * @property {string} unit
 * @property {number | undefined} value undefined: this run has not measured it
 * @property {string} [against] title of the contestant that it is compared with
 */

const LIMIT_RATIO = 1.25;
const PEAK_MEMORY_MIB = 150;
const CONCURRENT_RATIO = 1.3;
const EVENT_LOOP_DELAY_MS = 20;

/** @type {Readonly<Record<WorkloadName, { fastest: number, containerd: number, directory: number }>>} */
const PEER_RATIOS = {
  debian: { fastest: 2, containerd: 4, directory: 3 },
  app: { fastest: 2.5, containerd: 6, directory: 3.5 },
  big: { fastest: 1.7, containerd: 2, directory: 1.7 },
};
const JAVASCRIPT_RATIO = 12;
const IGZIP_TAR_RATIO = 2;

/** @param {Goal} goal */
export function isMet({ value, relation, bound }) {
  if (value === undefined) return undefined;
  if (relation === 'at least') return value >= bound;
  return relation === 'below' ? value < bound : value <= bound;
}

/**
 * The goals that a question can answer.
 * @param {Results} results
 * @param {QuestionName} question
 * @returns {Goal[]}
 */
export function computeGoals(results, question) {
  const subjects = subjectsOf(results, question);
  return [
    ...limitGoals(results, subjects, 'image'),
    ...limitGoals(results, subjects, 'directory'),
    ...(question === 'pull'
      ? peerGoals(results, subjects)
      : [...igzipGoals(results, subjects), ...javascriptGoals(results, subjects)]),
    ...memoryGoals(results, question),
    ...(question === 'pull' ? concurrencyGoals(results) : []),
  ];
}

/**
 * @param {Results} results
 * @param {readonly Subject[]} subjects
 * @param {'image' | 'directory'} form
 * @returns {Goal[]}
 */
function limitGoals(results, subjects, form) {
  return subjects.map((subject) => ({
    what: `${form} form: time by its limit`,
    where: name(subject),
    relation: 'at most',
    bound: LIMIT_RATIO,
    unit: '×',
    value: divide(
      caisOf(results, subject, form)?.medianSeconds,
      limitOf(results, { ...subject, form })?.seconds,
    ),
  }));
}

/** @param {Results} results @param {readonly Subject[]} subjects @returns {Goal[]} */
function peerGoals(results, subjects) {
  /** @param {RunSummary} run */
  const verifies = (run) => run.verifies;
  /** @param {RunSummary} run */
  const isDefaultContainerd = (run) =>
    run.contestant.startsWith('containerd') && run.form === 'directory';
  return /** @type {const} */ ([
    ['image', 'the fastest peer that verifies', 'fastest', verifies],
    ['image', 'the fastest containerd, default snapshotter', 'containerd', isDefaultContainerd],
    ['directory', 'the fastest containerd, directories', 'directory', isDefaultContainerd],
  ]).flatMap(([form, peers, key, isPeer]) =>
    subjects.map((subject) =>
      comparePeers(results, subject, {
        form,
        what: `${form} form: faster than ${peers}`,
        bound: PEER_RATIOS[subject.workload][key],
        isPeer,
      }),
    ),
  );
}

/** @param {Results} results @param {readonly Subject[]} subjects @returns {Goal[]} */
function igzipGoals(results, subjects) {
  return subjects
    .filter(({ workload, compression }) => workload === 'app' && compression === 'gzip')
    .map((subject) =>
      comparePeers(results, subject, {
        form: 'image',
        what: 'image form: faster than igzip into tar',
        bound: IGZIP_TAR_RATIO,
        isPeer: ({ contestant }) => contestant === 'tar-igzip',
      }),
    );
}

/** @param {Results} results @param {readonly Subject[]} subjects @returns {Goal[]} */
function javascriptGoals(results, subjects) {
  return subjects
    .filter(({ workload, compression }) => workload !== 'big' && compression === 'gzip')
    .map((subject) =>
      comparePeers(results, subject, {
        form: 'image',
        what: 'image form: faster than JavaScript',
        bound: JAVASCRIPT_RATIO,
        isPeer: ({ contestant }) => contestant.startsWith('javascript'),
      }),
    );
}

/** @param {Results} results @param {QuestionName} question @returns {Goal[]} */
function memoryGoals(results, question) {
  return /** @type {const} */ (['image', 'directory']).map((form) => {
    const peaks = results.runs
      .filter((run) => run.question === question && isCais(run) && run.form === form)
      .filter((run) => run.rounds.length > 0)
      .map((run) => run.peakMemoryBytes / 2 ** 20);
    return {
      what: `${form} form: peak memory`,
      where: 'all',
      relation: 'below',
      bound: PEAK_MEMORY_MIB,
      unit: ' MiB',
      value: peaks.length === 0 ? undefined : Math.max(...peaks),
    };
  });
}

/** @param {Results} results @returns {Goal[]} */
function concurrencyGoals({ concurrent }) {
  return [
    {
      what: 'eight pulls at once: time by the sum of their limits',
      where: 'image form',
      relation: 'at most',
      bound: CONCURRENT_RATIO,
      unit: '×',
      value: divide(concurrent?.medianSeconds, concurrent?.sumOfLimitsSeconds),
    },
    {
      what: 'eight pulls at once: event loop delay, p99.9',
      where: 'image form',
      relation: 'below',
      bound: EVENT_LOOP_DELAY_MS,
      unit: ' ms',
      value: concurrent?.eventLoopDelayWithStandstills.p999Ms,
    },
  ];
}

/**
 * @param {Results} results
 * @param {Subject} subject
 * @param {{ readonly form: 'image' | 'directory', readonly what: string, readonly bound: number,
 *   readonly isPeer: (run: RunSummary) => boolean }} comparison
 * @returns {Goal}
 */
function comparePeers(results, subject, { form, what, bound, isPeer }) {
  // Runs come fastest first.
  const peer = runsOf(results, subject).find((run) => !isCais(run) && isPeer(run));
  return {
    what,
    where: name(subject),
    relation: 'at least',
    bound,
    unit: '×',
    value: divide(peer?.medianSeconds, caisOf(results, subject, form)?.medianSeconds),
    ...(peer === undefined ? {} : { against: peer.title }),
  };
}

/** @param {Results} results @param {Subject} subject @param {'image' | 'directory'} form */
export function caisOf(results, subject, form) {
  return runsOf(results, subject).find((run) => isCais(run) && run.form === form);
}

/** @param {number | undefined} dividend @param {number | undefined} divisor */
export function divide(dividend, divisor) {
  return dividend === undefined || divisor === undefined || divisor === 0
    ? undefined
    : dividend / divisor;
}

/** @param {Subject} subject */
function name({ workload, compression }) {
  return `${workload}, ${compression}`;
}
