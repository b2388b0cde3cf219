import { formatSeconds } from './format.mjs';
import { renderPlot } from './plot.mjs';
import { isCais, limitOf, runsOf, subjectsOf } from './selection.mjs';

/** @import { QuestionName, Results, WorkloadName } from '../contract.js' */
/** @import { Bar, Panel } from './plot.mjs' */
/** @import { Subject } from './selection.mjs' */

const QUESTIONS = { extract: 'Extracting', pull: 'Pulling' };

/**
 * The plot of a workload: a panel for each compression.
 * @param {Results} results
 * @param {{ readonly question: QuestionName, readonly workload: WorkloadName }} options
 */
export function plotWorkload(results, { question, workload }) {
  const subjects = subjectsOf(results, question).filter((subject) => subject.workload === workload);
  return renderPlot({
    title: `${QUESTIONS[question]} ${workload}: ${describe(results, workload)}`,
    subtitle: subtitle(results, 'gzip -6 or zstd -3'),
    panels: subjects.map((subject) => makePanel(results, subject, subject.compression)),
  });
}

/**
 * The one plot of the README: pulling the image of a Node application, compressed by gzip as most are. Undefined when this was not measured.
 * @param {Results} results
 */
export function plotHeadline(results) {
  /** @type {Subject} */
  const subject = { question: 'pull', workload: 'app', compression: 'gzip' };
  if (runsOf(results, subject).length === 0) return undefined;
  return renderPlot({
    title: `Pulling an image of ${describe(results, 'app')}`,
    subtitle: subtitle(results, 'gzip -6'),
    panels: [makePanel(results, subject, '')],
  });
}

/** @param {Results} results @param {string} compression */
function subtitle({ machine }, compression) {
  return `Seconds from a cold store, median with minimum and maximum; ${compression}, ${machine.cores} cores, ext4, kernel ${machine.kernel}, ${machine.date}`;
}

/** @param {Results} results @param {WorkloadName} name */
function describe(results, name) {
  const workload = results.workloads.find((one) => one.name === name);
  if (workload === undefined) return name;
  const megabytes = Math.round(workload.tarBytes / 1e6).toLocaleString('en');
  return `${megabytes} MB, ${workload.entries.toLocaleString('en')} entries, ${workload.layers} ${workload.layers === 1 ? 'layer' : 'layers'}`;
}

/** @param {Results} results @param {Subject} subject @param {string} title @returns {Panel} */
function makePanel(results, subject, title) {
  return {
    title,
    bars: runsOf(results, subject).map((run) => {
      /** @type {Bar['kind']} */
      const kind = isCais(run) ? 'cais' : run.verifies ? 'verifies' : 'unverified';
      return {
        label: run.title,
        value: run.medianSeconds,
        min: Math.min(...run.rounds),
        max: Math.max(...run.rounds),
        kind,
      };
    }),
    limits: /** @type {const} */ (['image', 'directory']).flatMap((form) => {
      const limit = limitOf(results, { ...subject, form });
      return limit === undefined
        ? []
        : [
            {
              label: `limit of this machine, ${form} form: ${formatSeconds(limit.seconds)} s`,
              value: limit.seconds,
            },
          ];
    }),
  };
}
