import { mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { openMeasuredDisk, stepBytes } from '../ballast.mjs';
import { runInterruptible } from '../interruptible-command.mjs';
import { best, measureInPlace } from '../placement.mjs';
import { computeLimits } from './arithmetic.mjs';
import { buildLimitProgram } from './build.mjs';

/** @import { Ballast } from '../ballast.mjs' */
/** @import { LimitSummary, QuestionName, Workload } from '../contract.js' */
/** @import { PlacementWatch } from '../placement.mjs' */
/** @import { UndoStack } from '../undo-stack.mjs' */
/** @import { LayerStages, LimitRound, StageCost } from './arithmetic.mjs' */

/**
 * @typedef {object} LimitOptions
 * @property {QuestionName} question
 * @property {UndoStack} undo
 * @property {Ballast} ballast
 * @property {PlacementWatch} placement
 * @property {{ cpuSeconds(): number | Promise<number> }} [registry] for the question `pull`
 */

/** @typedef {Record<string, StageCost>} Output */

/**
 * Runs the limit program and returns what it printed. A signal to the benchmark ends it.
 * @param {readonly string[]} args
 * @param {UndoStack} undo
 * @returns {Promise<Output>}
 */
export async function runLimitProgram(args, undo) {
  return JSON.parse(await runInterruptible([buildLimitProgram(), ...args], undo));
}

/**
 * Measures all stages of a workload once, each on a fresh file system where it writes.
 * @param {Workload} workload
 * @param {LimitOptions} options
 * @returns {Promise<LimitRound>}
 */
export async function measureLimitRound(workload, options) {
  const streams = await measureLayers(workload, options, (index, directory) => {
    const { blobPath, tarPath, digest, diffId } = layerAt(workload, index);
    return ['streams', workload.compression, blobPath, tarPath, digest, diffId, directory];
  });
  const one = await measureCreation(workload, options, '1');
  // These need both processors.
  const two = await measureBeside(() => measureCreation(workload, options, '2'), options);
  const transfer =
    options.question === 'pull'
      ? await measureBeside(() => measureTransfer(workload, options), options)
      : {};
  return {
    layers: streams.map((stages, index) => ({
      ...stages,
      ...one[index],
      ...two[index],
      ...transfer.layers?.[index],
    })),
    ...(transfer.registryCpuSeconds === undefined
      ? {}
      : { registryCpuSeconds: transfer.registryCpuSeconds }),
  };
}

/**
 * @param {readonly LimitRound[]} rounds
 * @param {{ readonly workload: Workload, readonly question: QuestionName }} subject
 * @returns {LimitSummary[]}
 */
export function summarizeLimits(rounds, { workload, question }) {
  return computeLimits(rounds, {
    question,
    workload: workload.name,
    compression: workload.compression,
    layerBytes: workload.layers.map((layer) => layer.tarBytes),
    cores: availableParallelism(),
  });
}

/**
 * With the processors side by side, if that can be had.
 * @template T
 * @param {() => Promise<T>} measure
 * @param {LimitOptions} options
 */
async function measureBeside(measure, { placement }) {
  return best(await measureInPlace(() => placement.during(measure), placement.patience)).value;
}

/**
 * @param {Workload} workload
 * @param {LimitOptions} options
 * @param {'1' | '2'} threads
 */
function measureCreation(workload, options, threads) {
  return measureLayers(workload, options, (index, directory) => [
    'create',
    threads,
    layerAt(workload, index).tarPath,
    directory,
  ]);
}

/**
 * Runs the limit program for each layer, on one fresh file system with a directory for each.
 * @param {Workload} workload
 * @param {LimitOptions} options
 * @param {(index: number, directory: string) => readonly string[]} command
 * @returns {Promise<LayerStages[]>}
 */
async function measureLayers(workload, { undo, ballast }, command) {
  const disk = await openMeasuredDisk({ undo, ballast });
  try {
    await ballast.lend(stepBytes(workload));
    const layers = [];
    for (const index of workload.layers.keys()) {
      const directory = join(disk.directory, `layer-${index}`);
      mkdirSync(directory);
      layers.push(await runLimitProgram(command(index, directory), undo));
    }
    return layers;
  } finally {
    await disk.close();
  }
}

/**
 * @param {Workload} workload
 * @param {LimitOptions} options
 * @returns {Promise<{ layers?: LayerStages[], registryCpuSeconds?: number }>}
 */
async function measureTransfer(workload, { registry, undo }) {
  const reference = /^127\.0\.0\.1:(\d+)\/([^:]+):/.exec(workload.reference);
  const [, port, name] = reference ?? [];
  if (registry === undefined || port === undefined) {
    throw new Error(`The workload "${workload.name}" is in no registry`);
  }
  const blobs = workload.layers.flatMap((layer) => [
    `/v2/${name}/blobs/${layer.digest}`,
    String(layer.blobBytes),
  ]);
  const before = await registry.cpuSeconds();
  const output = await runLimitProgram(['download', port, ...blobs], undo);
  const registryCpuSeconds = (await registry.cpuSeconds()) - before;
  return {
    layers: workload.layers.map((_layer, index) => {
      const transfer = output[`transfer-${index}`];
      if (transfer === undefined) throw new Error('The limit program left out a transfer');
      return { transfer };
    }),
    registryCpuSeconds,
  };
}

/** @param {Workload} workload @param {number} index */
function layerAt(workload, index) {
  const layer = workload.layers[index];
  if (layer === undefined) throw new Error(`No layer ${index}`);
  return layer;
}
