import { BallastError } from './ballast.mjs';
import { median } from './limit/arithmetic.mjs';
import { measureLimitRound, summarizeLimits } from './limit/measure.mjs';
import { runOnce } from './one-run.mjs';
import { best, measureInPlace } from './placement.mjs';

/** @import { Ballast } from './ballast.mjs' */
/** @import { Contestant, LimitSummary, QuestionName, RunCost, RunSummary, Workload } from './contract.js' */
/** @import { LimitRound } from './limit/arithmetic.mjs' */
/** @import { OneRunOptions } from './one-run.mjs' */
/** @import { PlacementWatch } from './placement.mjs' */
/** @import { UndoStack } from './undo-stack.mjs' */

/** With --quick, what took longer than this in its first round has no further one. */
export const QUICK_LONG_SECONDS = 8;

/**
 * @typedef {object} RoundsOptions
 * @property {QuestionName} question
 * @property {Workload} workload
 * @property {readonly Contestant[]} contestants
 * @property {number} rounds
 * @property {boolean} isQuick
 * @property {UndoStack} undo
 * @property {Ballast} ballast
 * @property {PlacementWatch} placement
 * @property {(message: string) => void} say
 * @property {{ cpuSeconds(): number | Promise<number> }} [registry]
 * @property {(contestant: Contestant) => Pick<OneRunOptions, 'beforehand' | 'afterwards'>} [inspect] what to look at in a contestant's first run
 */

/**
 * What a workload's rounds know about one contestant.
 * @typedef {object} Entrant
 * @property {Contestant} contestant
 * @property {RunCost[]} costs one of each round
 * @property {(readonly RunCost[])[]} attempts all of each round
 * @property {string} [error]
 */

/**
 * Lets all contestants and the limit program run in turns, so that whatever the machine does meanwhile happens to all of them. The order
 * moves on by one each round: nobody always follows the same predecessor.
 * @param {RoundsOptions} options
 * @returns {Promise<{ runs: RunSummary[], limits: LimitSummary[] }>}
 */
export async function runRounds(options) {
  const { question, workload, undo, ballast, placement, say } = options;
  /** @type {Entrant[]} */
  const entrants = options.contestants
    .filter((contestant) => takesPart(contestant, options))
    .map((contestant) => ({ contestant, costs: [], attempts: [] }));
  /** @type {LimitRound[]} */
  const limitRounds = [];
  for (let round = 0; round < options.rounds; round++) {
    const label = `${question} ${workload.name}/${workload.compression} ${round + 1}/${options.rounds}`;
    const started = performance.now();
    limitRounds.push(
      await measureLimitRound(workload, {
        question,
        undo,
        ballast,
        placement,
        ...(options.registry === undefined ? {} : { registry: options.registry }),
      }),
    );
    say(`${label}: the limit's stages took ${secondsSince(started)} s`);
    for (const entrant of rotate(entrants, round)) {
      if (isDone(entrant, options)) continue;
      await runEntrant(entrant, { ...options, label });
    }
  }
  return {
    runs: entrants.map((entrant) => summarize(entrant, options)),
    limits: summarizeLimits(limitRounds, { workload, question }),
  };
}

/**
 * Is this workload meant for the contestant? The slow ones leave out the large workload, and with --quick the second compression.
 * @param {Contestant} contestant
 * @param {{ readonly question: QuestionName, readonly workload: Workload, readonly isQuick: boolean }} options
 */
export function takesPart(contestant, { question, workload, isQuick }) {
  const { questions, compressions = [workload.compression] } = contestant;
  if (!questions.includes(question) || !compressions.includes(workload.compression)) return false;
  if (!contestant.slow) return true;
  return workload.name !== 'big' && !(isQuick && workload.compression === 'zstd');
}

/**
 * @template T
 * @param {readonly T[]} items
 * @param {number} by
 * @returns {T[]}
 */
export function rotate(items, by) {
  const start = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}

/** @param {Entrant} entrant @param {{ readonly isQuick: boolean }} options */
function isDone({ contestant, costs, error }, { isQuick }) {
  if (error !== undefined) return true;
  const [first] = costs;
  if (first === undefined) return false;
  return contestant.slow === true || (isQuick && first.seconds > QUICK_LONG_SECONDS);
}

/**
 * @param {Entrant} entrant
 * @param {RoundsOptions & { readonly label: string }} options
 */
async function runEntrant(entrant, options) {
  const { question, workload, undo, ballast, placement, say, inspect, label } = options;
  const { contestant } = entrant;
  let isFirst = entrant.costs.length === 0;
  const run = async () => {
    const started = performance.now();
    const inspecting = isFirst ? inspect?.(contestant) : {};
    isFirst = false;
    const shared = { question, workload, undo, ballast, placement };
    const cost = await runOnce(contestant, { ...shared, ...inspecting });
    say(`${label}: ${contestant.name} ${describeCost(cost, secondsSince(started))}`);
    return cost;
  };
  try {
    // One that runs once takes so long that it meets all placements.
    const attempts = contestant.slow
      ? /** @type {const} */ ([await run()])
      : await measureInPlace(run, placement.patience);
    entrant.costs.push(best(attempts));
    entrant.attempts.push(attempts);
  } catch (error) {
    // Whoever runs when everything is being ended, or when there is no ballast any more, has not failed.
    if (undo.isClosing || error instanceof BallastError) throw error;
    entrant.error = describeError(error);
    say(`${label}: ${contestant.name} failed: ${entrant.error}`);
  }
}

/** @param {RunCost} cost @param {string} allSeconds */
function describeCost({ seconds, cpuSeconds, peakMemoryBytes, placement }, allSeconds) {
  const mebibytes = Math.round(peakMemoryBytes / 2 ** 20);
  const { looks, far, together } = placement ?? { looks: 0, far: 0, together: 0 };
  const odd =
    far + together > 0 ? `, processors far ${far} and together ${together} of ${looks} looks` : '';
  return `${seconds.toFixed(2)} s, ${cpuSeconds.toFixed(2)} CPU s, ${mebibytes} MiB${odd} (with everything around it ${allSeconds} s)`;
}

/** @param {unknown} error */
export function describeError(error) {
  const message = error instanceof Error ? error.message : String(error);
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : '';
  return (cause === '' || message.includes(cause) ? message : `${message}: ${cause}`).trim();
}

/** @param {Entrant} entrant @param {RoundsOptions} options @returns {RunSummary} */
function summarize({ contestant, costs, attempts, error }, { question, workload }) {
  const { name, title, verifies, form } = contestant;
  const seconds = costs.map((cost) => cost.seconds);
  return {
    question,
    workload: workload.name,
    compression: workload.compression,
    contestant: name,
    title,
    verifies,
    form,
    rounds: seconds,
    attempts: attempts.map((all) => all.map(({ seconds, placement }) => ({ seconds, placement }))),
    medianSeconds: costs.length === 0 ? 0 : median(seconds),
    cpuSeconds: costs.length === 0 ? 0 : median(costs.map((cost) => cost.cpuSeconds)),
    peakMemoryBytes: Math.max(0, ...attempts.flat().map((cost) => cost.peakMemoryBytes)),
    ...(error === undefined ? {} : { error }),
  };
}

/** @param {number} startedMs of `performance.now()` */
export function secondsSince(startedMs) {
  return ((performance.now() - startedMs) / 1000).toFixed(1);
}
