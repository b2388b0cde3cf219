import { Inspection } from '../inspection.mjs';
import { runLimitProgram } from '../limit/measure.mjs';
import { QUICK_LONG_SECONDS, runRounds } from '../rounds.mjs';
import { warmUp } from '../warm.mjs';

/** @import { Ballast } from '../ballast.mjs' */
/** @import { Contestant, QuestionName, Results, Workload, WorkloadSummary } from '../contract.js' */
/** @import { PlacementWatch } from '../placement.mjs' */
/** @import { UndoStack } from '../undo-stack.mjs' */

/**
 * @typedef {object} QuestionOptions
 * @property {readonly Workload[]} workloads
 * @property {readonly Contestant[]} contestants
 * @property {Results['machine']} machine
 * @property {Results['missing']} missing
 * @property {number} rounds
 * @property {boolean} isQuick
 * @property {UndoStack} undo
 * @property {Ballast} ballast
 * @property {PlacementWatch} placement
 * @property {(message: string) => void} say
 * @property {{ cpuSeconds(): number | Promise<number> }} [registry] for the question `pull`
 */

/**
 * Everything that both questions do alike.
 * @param {QuestionName} question
 * @param {QuestionOptions} options
 * @returns {Promise<Results>}
 */
export async function askQuestion(question, options) {
  const { workloads, undo, ballast, placement, say } = options;
  const contestants = options.contestants.filter(({ questions }) => questions.includes(question));
  const runs = [];
  const limits = [];
  /** @type {Map<string, { inspection: Inspection, workload: Workload }>} */
  const inspections = new Map();
  for (const workload of workloads) {
    await warmUp(workload);
    // The tree is the same whatever compressed it.
    const isFirst = !inspections.has(workload.name);
    const inspection = new Inspection({ question, workload, undo, ballast, say });
    if (isFirst) {
      inspections.set(workload.name, { inspection, workload });
      await inspection.prepare();
    }
    const { registry, rounds, isQuick } = options;
    const outcome = await runRounds({
      question,
      workload,
      contestants,
      rounds,
      isQuick,
      undo,
      ballast,
      placement,
      say,
      ...(registry === undefined ? {} : { registry }),
      ...(isFirst ? { inspect: (contestant) => inspection.observe(contestant) } : {}),
    });
    runs.push(...outcome.runs);
    limits.push(...outcome.limits);
  }

  // This empties the caches, so nothing else is measured any more.
  const afterwards = [];
  for (const { inspection, workload } of inspections.values()) {
    await warmUp(workload);
    const tooLong = runs
      .filter((run) => options.isQuick && run.workload === workload.name)
      .filter((run) => run.medianSeconds > QUICK_LONG_SECONDS);
    const leaveOut = new Set(tooLong.map(({ contestant }) => contestant));
    afterwards.push(...(await inspection.readTrees({ leaveOut })));
  }
  return {
    machine: options.machine,
    versions: {
      node: process.versions.node,
      ...(await limitVersions(undo)),
      ...Object.fromEntries(contestants.map(({ name, version }) => [name, version])),
    },
    workloads: summarizeWorkloads(workloads),
    runs,
    limits,
    afterwards,
    trees: [...inspections.values()].flatMap(({ inspection }) => inspection.trees),
    missing: options.missing,
  };
}

/** @param {UndoStack} undo @returns {Promise<Record<string, string>>} */
async function limitVersions(undo) {
  const versions = await runLimitProgram(['versions'], undo);
  return Object.fromEntries(
    Object.entries(versions).map(([library, version]) => [`limit: ${library}`, String(version)]),
  );
}

/**
 * @param {readonly Workload[]} workloads each compression apart
 * @returns {WorkloadSummary[]}
 */
function summarizeWorkloads(workloads) {
  const names = [...new Set(workloads.map(({ name }) => name))];
  return names.flatMap((name) => {
    const forms = workloads.filter((workload) => workload.name === name);
    const [first] = forms;
    if (first === undefined) return [];
    const blobBytes = { gzip: 0, zstd: 0 };
    const manifestDigests = { gzip: '', zstd: '' };
    for (const { compression, layers, manifestDigest } of forms) {
      blobBytes[compression] = layers.reduce((sum, layer) => sum + layer.blobBytes, 0);
      manifestDigests[compression] = manifestDigest;
    }
    const { entries, tarBytes } = first;
    return [{ name, entries, tarBytes, layers: first.layers.length, blobBytes, manifestDigests }];
  });
}
