/** @import { Compression, LimitSummary, QuestionName, Results, RunSummary, WorkloadName } from '../contract.js' */

/**
 * @typedef {object} Subject
 * @property {QuestionName} question
 * @property {WorkloadName} workload
 * @property {Compression} compression
 */

/** @param {Results} results @returns {QuestionName[]} */
export function questionsOf(results) {
  return [...new Set([...results.runs, ...results.limits].map(({ question }) => question))];
}

/**
 * The part of the results that belongs to one question. A file of both questions has what contestants leave behind once for each question that they
 * took part in; it is the same, so the last one is kept.
 * @param {Results} results
 * @param {QuestionName} question
 * @returns {Results}
 */
export function selectQuestion(results, question) {
  const runs = results.runs.filter((run) => run.question === question);
  const names = new Set(runs.map(({ contestant }) => contestant));
  /** @template {{ readonly workload: string, readonly contestant: string }} T @param {readonly T[]} entries */
  const select = (entries) => [
    ...new Map(
      entries
        .filter(({ contestant }) => names.has(contestant))
        .map((entry) => [`${entry.workload} ${entry.contestant}`, entry]),
    ).values(),
  ];
  const { concurrent, ...others } = results;
  return {
    ...others,
    runs,
    limits: results.limits.filter((limit) => limit.question === question),
    afterwards: select(results.afterwards),
    trees: select(results.trees),
    ...(question === 'pull' && concurrent !== undefined ? { concurrent } : {}),
  };
}

/**
 * Everything that was asked of one question, in the order of the runs.
 * @param {Results} results
 * @param {QuestionName} question
 * @returns {Subject[]}
 */
export function subjectsOf(results, question) {
  return results.workloads.flatMap(({ name }) =>
    /** @type {const} */ (['gzip', 'zstd'])
      .filter((compression) =>
        results.limits.some((limit) => isOf(limit, { question, workload: name, compression })),
      )
      .map((compression) => ({ question, workload: name, compression })),
  );
}

/**
 * Runs that have a result, fastest first.
 * @param {Results} results
 * @param {Subject} subject
 */
export function runsOf(results, subject) {
  return results.runs
    .filter((run) => isOf(run, subject) && run.rounds.length > 0)
    .sort((a, b) => a.medianSeconds - b.medianSeconds);
}

/**
 * @param {Results} results
 * @param {Subject} subject
 */
export function failuresOf(results, subject) {
  return results.runs.filter((run) => isOf(run, subject) && run.error !== undefined);
}

/**
 * @param {Results} results
 * @param {Subject & { readonly form: 'image' | 'directory' }} subject
 * @returns {LimitSummary | undefined}
 */
export function limitOf(results, subject) {
  return results.limits.find((limit) => isOf(limit, subject) && limit.form === subject.form);
}

/** @param {RunSummary} run */
export function isCais(run) {
  return run.contestant === 'cais' || run.contestant.startsWith('cais-');
}

/** @param {Subject} item @param {Subject} subject */
function isOf(item, { question, workload, compression }) {
  return (
    item.question === question && item.workload === workload && item.compression === compression
  );
}
