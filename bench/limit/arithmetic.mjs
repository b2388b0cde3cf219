/** @import { Compression, LimitSummary, QuestionName, WorkloadName } from '../contract.js' */

/**
 * @typedef {{ readonly seconds: number, readonly cpuSeconds: number }} StageCost
 * @typedef {Readonly<Record<string, StageCost>>} LayerStages
 */

/**
 * One measurement of all stages of a workload.
 * @typedef {object} LimitRound
 * @property {readonly LayerStages[]} layers in the workload's order
 * @property {number} [registryCpuSeconds] what the transfer cost at the other end (question `pull`)
 */

/**
 * @typedef {object} LimitSubject
 * @property {QuestionName} question
 * @property {WorkloadName} workload
 * @property {Compression} compression
 * @property {readonly number[]} layerBytes size of each layer's tar
 * @property {number} cores
 */

const STREAM_STAGES = ['decompress', 'sha256-blob', 'sha256-tar', 'write-blob'];
/** CPU time at the registry: a stage of its own, which nobody waits for by the clock. */
const REGISTRY = 'registry';

/** @param {readonly number[]} values at least one */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle];
  if (upper === undefined) throw new Error('No median of nothing');
  const lower = sorted[middle - 1];
  return sorted.length % 2 === 1 || lower === undefined ? upper : (lower + upper) / 2;
}

/**
 * The limits of both layer forms. Each stage of each layer is the median over the rounds; then the limit is the larger of
 * (a) the slowest stage of the largest layer, since layers may run beside each other but a stage of one layer may not run beside itself, and
 * (b) the CPU seconds of all stages of all layers, divided by the cores.
 * The directory form takes the way of creating the tree that leads to the smaller limit.
 * @param {readonly LimitRound[]} rounds
 * @param {LimitSubject} subject
 * @returns {LimitSummary[]}
 */
export function computeLimits(rounds, subject) {
  const layers = takeMedians(rounds);
  const registryCpuSeconds = median(rounds.map((round) => round.registryCpuSeconds ?? 0));
  const shared = subject.question === 'pull' ? [...STREAM_STAGES, 'transfer'] : STREAM_STAGES;
  /** @param {'image' | 'directory'} form @param {string} last */
  const compute = (form, last) =>
    computeLimit({ layers, registryCpuSeconds, form, stages: [...shared, last] }, subject);
  const image = compute('image', 'write-tar');
  const [one, two] = [compute('directory', 'create-1'), compute('directory', 'create-2')];
  return [image, one.seconds <= two.seconds ? one : two];
}

/**
 * @param {{ readonly layers: readonly LayerStages[], readonly registryCpuSeconds: number,
 *   readonly form: 'image' | 'directory', readonly stages: readonly string[] }} measured
 * @param {LimitSubject} subject
 * @returns {LimitSummary}
 */
function computeLimit({ layers, registryCpuSeconds, form, stages }, subject) {
  const largest = layers[subject.layerBytes.indexOf(Math.max(...subject.layerBytes))];
  if (largest === undefined) throw new Error('A workload has layers');
  /** @type {Record<string, number>} */
  const seconds = {};
  /** @type {Record<string, number>} */
  const cpuSeconds = {};
  for (const stage of stages) {
    const costs = layers.map((layer) => costOf(layer, stage));
    seconds[stage] = sum(costs.map((cost) => cost.seconds));
    cpuSeconds[stage] = sum(costs.map((cost) => cost.cpuSeconds));
  }
  if (subject.question === 'pull') cpuSeconds[REGISTRY] = registryCpuSeconds;
  const slowestStage = Math.max(...stages.map((stage) => costOf(largest, stage).seconds));
  const cpuShare = sum(Object.values(cpuSeconds)) / subject.cores;
  return {
    question: subject.question,
    workload: subject.workload,
    compression: subject.compression,
    form,
    seconds: Math.max(slowestStage, cpuShare),
    stages: seconds,
    stageCpuSeconds: cpuSeconds,
  };
}

/** @param {readonly LimitRound[]} rounds @returns {LayerStages[]} */
function takeMedians(rounds) {
  const [first] = rounds;
  if (first === undefined) throw new Error('No rounds of the limit');
  return first.layers.map((layer, index) =>
    Object.fromEntries(
      Object.keys(layer).map((stage) => {
        const costs = rounds.map((round) => costOf(round.layers[index], stage));
        return [
          stage,
          {
            seconds: median(costs.map((cost) => cost.seconds)),
            cpuSeconds: median(costs.map((cost) => cost.cpuSeconds)),
          },
        ];
      }),
    ),
  );
}

/** @param {LayerStages | undefined} layer @param {string} stage */
function costOf(layer, stage) {
  const cost = layer?.[stage];
  if (cost === undefined) throw new Error(`The stage "${stage}" was not measured`);
  return cost;
}

/** @param {readonly number[]} values */
export function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}
