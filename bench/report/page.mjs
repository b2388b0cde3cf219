import { median, sum } from '../limit/arithmetic.mjs';
import { MAX_ATTEMPTS, MAX_ODD_SHARE, oddShare } from '../placement.mjs';
import {
  formatMebibytes,
  formatMegabytes,
  formatRatio,
  formatSeconds,
  formatTable,
} from './format.mjs';
import { caisOf, computeGoals, divide, isMet } from './goals.mjs';
import { failuresOf, isCais, limitOf, runsOf, subjectsOf } from './selection.mjs';

/** @import { LimitSummary, QuestionName, Results, RunSummary } from '../contract.js' */
/** @import { Goal } from './goals.mjs' */
/** @import { Subject } from './selection.mjs' */

const TITLES = {
  extract: 'Extraction: from the blobs on disk to a root file system',
  pull: 'Pull: from a registry to a root file system',
};
const SHOWN_DIFFERENCES = 5;

/**
 * The page of one question in Markdown.
 * @param {Results} results of this question alone
 * @param {{ readonly question: QuestionName, readonly notes?: string }} options `notes` is Markdown that somebody wrote about these results
 */
export function renderPage(results, { question, notes }) {
  const subjects = subjectsOf(results, question);
  const workloads = [...new Set(subjects.map(({ workload }) => workload))];
  return `${[
    `# ${TITLES[question]}`,
    renderIntroduction(results, question),
    '## Goals',
    renderGoals(computeGoals(results, question)),
    ...renderPlacement(results, question),
    ...(notes === undefined ? [] : ['## Notes', notes.trim()]),
    ...workloads.flatMap((workload) => [
      `## ${workload}`,
      describeWorkload(results, workload),
      `![Seconds of each contestant on ${workload}](${question}-${workload}.svg)`,
      ...subjects
        .filter((subject) => subject.workload === workload)
        .flatMap((subject) => renderSubject(results, subject)),
    ]),
    ...renderConcurrent(results, question),
    '## Limit, stage by stage',
    'Seconds by the clock of each stage alone, on one thread (`create-2`: two), with its CPU seconds in brackets; sums over the layers. The limit is the larger of the slowest stage (of the largest layer) and all CPU seconds divided by the cores.',
    renderLimits(results),
    ...renderAfterwards(results),
    '## Trees',
    renderTrees(results),
    '## Machine and versions',
    renderMachine(results, question),
  ].join('\n\n')}\n`;
}

/** @param {Results} results @param {QuestionName} question */
function renderIntroduction({ machine }, question) {
  return `Medians of one run on ${machine.cores} cores (${machine.processor}, kernel ${machine.kernel}, ${machine.date}). Machines differ, so only ratios within this page count. Made by \`${machine.command}\`; the numbers are in [${question}.json](${question}.json), and [bench/README.md](../README.md) says what is measured and how.`;
}

/** @param {readonly Goal[]} goals */
function renderGoals(goals) {
  const met = goals.filter((goal) => isMet(goal) === true).length;
  const missed = goals.filter((goal) => isMet(goal) === false).length;
  const rest = goals.length - met - missed;
  const table = formatTable(
    ['goal', 'on', 'bound', 'measured', 'result', 'compared with'],
    goals.map((goal) => [
      goal.what,
      goal.where,
      `${goal.relation} ${goal.bound}${goal.unit}`,
      goal.value === undefined ? '' : `${formatRatio(goal.value)}${goal.unit}`,
      describeResult(goal),
      goal.against ?? '',
    ]),
    ['on', 'result', 'compared with'],
  );
  return `${met} met, ${missed} missed${rest > 0 ? `, ${rest} not measured in this run` : ''}.\n\n${table}`;
}

/** @param {Goal} goal */
function describeResult(goal) {
  const { value, bound } = goal;
  if (value === undefined) return 'not measured';
  if (isMet(goal)) return 'met';
  return `**missed** by ${Math.round((Math.abs(value - bound) / bound) * 100)} %`;
}

/**
 * Where the host ran the processors, what was measured again for that reason, and what the goals would be without.
 * @param {Results} results
 * @param {QuestionName} question
 */
function renderPlacement(results, question) {
  const rounds = results.runs.flatMap(({ attempts = [] }) => attempts);
  const attempts = rounds.flat();
  const looks = sum(attempts.map(({ placement }) => placement?.looks ?? 0));
  if (looks === 0) return [];
  /** @param {'far' | 'together'} kind */
  const percent = (kind) =>
    `${formatRatio((sum(attempts.map(({ placement }) => placement?.[kind] ?? 0)) / looks) * 100)} %`;
  const repeated = attempts.length - rounds.length;
  const odd = rounds.filter((all) =>
    all.every(({ placement }) => oddShare(placement) > MAX_ODD_SHARE),
  ).length;
  const goals = computeGoals(withFirstAttempts(results), question);
  const met = goals.filter((goal) => isMet(goal) === true).length;
  return [
    `The host had the two processors on cores without a common third-level cache in ${percent('far')} of ${looks} looks while something ran, and both on one core in ${percent('together')}. A run in which that was so for more than ${MAX_ODD_SHARE * 100} % of the looks was made again, whatever its time and whoever's it was: ${repeated} of ${attempts.length}; ${odd} of ${rounds.length} rounds had no better one in up to ${MAX_ATTEMPTS} attempts. Had the first attempt of each round counted, ${met} of ${goals.length} goals would be met ([bench/README.md](../README.md)).`,
  ];
}

/** @param {Results} results @returns {Results} */
function withFirstAttempts(results) {
  return {
    ...results,
    runs: results.runs.map((run) => {
      const seconds = (run.attempts ?? []).flatMap(([first]) => first?.seconds ?? []);
      return seconds.length === 0 ? run : { ...run, medianSeconds: median(seconds) };
    }),
  };
}

/** @param {Results} results @param {string} name */
function describeWorkload(results, name) {
  const workload = results.workloads.find((one) => one.name === name);
  if (workload === undefined) return '';
  const { layers, entries, tarBytes, blobBytes, manifestDigests } = workload;
  const blobs = /** @type {const} */ (['gzip', 'zstd'])
    .filter((compression) => blobBytes[compression] > 0)
    .map(
      (compression) =>
        `${compression} ${formatMegabytes(blobBytes[compression])} MB (\`${manifestDigests[compression].slice(0, 19)}…\`)`,
    );
  return `${formatMegabytes(tarBytes)} MB and ${entries.toLocaleString('en')} entries in ${layers} ${layers === 1 ? 'layer' : 'layers'}; ${blobs.join(', ')}.`;
}

/** @param {Results} results @param {Subject} subject */
function renderSubject(results, subject) {
  const image = caisOf(results, subject, 'image')?.medianSeconds;
  const directory = caisOf(results, subject, 'directory')?.medianSeconds;
  const limits = /** @type {const} */ (['image', 'directory']).flatMap((form) => {
    const limit = limitOf(results, { ...subject, form });
    return limit === undefined ? [] : [limit];
  });
  const rows = [
    ...runsOf(results, subject).map((run) => ({
      seconds: run.medianSeconds,
      cells: renderRun(run, { image, directory, limits }),
    })),
    ...limits.map((limit) => ({
      seconds: limit.seconds,
      cells: [
        `_limit, ${limit.form} form_`,
        formatSeconds(limit.seconds),
        '',
        formatSeconds(totalCpuSeconds(limit)),
        '',
        formatRatio(divide(limit.seconds, image)),
        formatRatio(divide(limit.seconds, directory)),
        '',
        '',
      ],
    })),
  ].sort((a, b) => a.seconds - b.seconds);
  const header = [
    'contestant',
    'median s',
    'min–max (rounds)',
    'CPU s',
    'peak MiB',
    '÷ cais, image',
    '÷ cais, directory',
    '÷ limit of its form',
    'verifies',
  ];
  const failures = failuresOf(results, subject).map(
    ({ title, error, rounds }) =>
      `- ${title}: ${rounds.length === 0 ? 'no result' : `failed after ${rounds.length} rounds`}: ${error?.split('\n', 1)[0] ?? ''}`,
  );
  return [
    `### ${subject.workload}, ${subject.compression}`,
    formatTable(
      header,
      rows.map(({ cells }) => cells),
      ['verifies'],
    ),
    ...(failures.length === 0 ? [] : [failures.join('\n')]),
  ];
}

/**
 * @param {RunSummary} run
 * @param {{ readonly image: number | undefined, readonly directory: number | undefined, readonly limits: readonly LimitSummary[] }} others
 */
function renderRun(run, { image, directory, limits }) {
  const { rounds, medianSeconds } = run;
  const spread =
    rounds.length === 1
      ? '(1)'
      : `${formatSeconds(Math.min(...rounds))}–${formatSeconds(Math.max(...rounds))} (${rounds.length})`;
  const limit = limits.find(({ form }) => form === run.form)?.seconds;
  return [
    isCais(run) ? `**${run.title}**` : run.title,
    formatSeconds(medianSeconds),
    spread,
    formatSeconds(run.cpuSeconds),
    formatMebibytes(run.peakMemoryBytes),
    formatRatio(divide(medianSeconds, image)),
    formatRatio(divide(medianSeconds, directory)),
    formatRatio(divide(medianSeconds, limit)),
    run.verifies ? 'yes' : 'no',
  ];
}

/** @param {LimitSummary} limit */
function totalCpuSeconds({ stageCpuSeconds }) {
  return Object.values(stageCpuSeconds).reduce((sum, seconds) => sum + seconds, 0);
}

/** @param {Results} results @param {QuestionName} question */
function renderConcurrent({ concurrent }, question) {
  if (question !== 'pull' || concurrent === undefined) return [];
  const { images, medianSeconds, sumOfLimitsSeconds, peakMemoryBytes } = concurrent;
  const { eventLoopDelay, eventLoopDelayWithStandstills, standstillSeconds } = concurrent;
  return [
    `## ${images.length} pulls at the same time`,
    `${images.join(', ')} by one process: ${formatSeconds(medianSeconds)} s, where the limits add up to ${formatSeconds(sumOfLimitsSeconds)} s. Peak memory ${formatMebibytes(peakMemoryBytes)} MiB.`,
    standstillSeconds.every((seconds) => seconds !== null)
      ? `Event loop delay, but for the time in which nothing ran on this machine: ${formatDelays(eventLoopDelay)}; with that time: ${formatDelays(eventLoopDelayWithStandstills)}. The machine stood still for ${standstillSeconds.map(formatSeconds).join(', ')} s of the rounds, as a program of a higher priority on each of its processors saw ([bench/README.md](../README.md)).`
      : `Event loop delay: ${formatDelays(eventLoopDelayWithStandstills)}. Nobody saw whether the machine stood still meanwhile: a program with a real-time priority was refused.`,
  ];
}

/** @param {NonNullable<Results['concurrent']>['eventLoopDelay']} delay */
function formatDelays({ p50Ms, p99Ms, p999Ms, maxMs }) {
  const delays = { p50: p50Ms, p99: p99Ms, 'p99.9': p999Ms, maximum: maxMs };
  return Object.entries(delays)
    .map(([name, ms]) => `${name} ${ms.toFixed(1)} ms`)
    .join(', ');
}

/** @param {Results} results */
function renderLimits({ limits }) {
  const stages = [...new Set(limits.flatMap((limit) => Object.keys(limit.stageCpuSeconds)))];
  return formatTable(
    ['workload', 'form', 'limit s', ...stages],
    limits.map((limit) => [
      `${limit.workload}, ${limit.compression}`,
      limit.form,
      formatSeconds(limit.seconds),
      ...stages.map((stage) => {
        const [seconds, cpuSeconds] = [limit.stages[stage], limit.stageCpuSeconds[stage]];
        if (cpuSeconds === undefined) return '';
        const cpu = `(${formatSeconds(cpuSeconds)})`;
        return seconds === undefined ? cpu : `${formatSeconds(seconds)} ${cpu}`;
      }),
    ]),
    ['form'],
  );
}

/** @param {Results} results */
function renderAfterwards(results) {
  if (results.afterwards.length === 0) return [];
  /** @param {number | undefined} seconds */
  const optional = (seconds) => (seconds === undefined ? '' : formatSeconds(seconds));
  return [
    '## Afterwards',
    'What the result costs its user: space on the disk (with what the contestant keeps of the blobs), reading the whole tree from the disk and from the page cache, removing the image, and the first start of a container. Contestants that leave the same behind, whatever helper programs they used, have one row for all; those that take very long are left out.',
    formatTable(
      [
        'workload',
        'contestant',
        'disk MB',
        'read cold s',
        'read warm s',
        'remove s',
        'first start s',
      ],
      results.afterwards.map((entry) => [
        entry.workload,
        results.runs.find((run) => run.contestant === entry.contestant)?.title ?? entry.contestant,
        formatMegabytes(entry.diskBytes),
        formatSeconds(entry.readColdSeconds),
        formatSeconds(entry.readWarmSeconds),
        optional(entry.removeSeconds),
        optional(entry.firstStartSeconds),
      ]),
      ['contestant'],
    ),
  ];
}

/** @param {Results} results */
function renderTrees({ trees }) {
  const different = trees.filter(({ differences }) => differences.length > 0);
  const introduction = `Each contestant's tree was compared once with what GNU tar makes of the plain layers: ${trees.length - different.length} of ${trees.length} agree in every name, type, mode, owner, time, link, extended attribute and byte.`;
  const lists = different.map(({ workload, contestant, differences }) => {
    const shown = differences.slice(0, SHOWN_DIFFERENCES).map((line) => `  - \`${line}\``);
    return [
      `- ${contestant} on ${workload}: ${differences.length} ${differences.length === 1 ? 'difference' : 'differences'}`,
      ...shown,
    ].join('\n');
  });
  return [introduction, ...(lists.length === 0 ? [] : [lists.join('\n')])].join('\n\n');
}

/** @param {Results} results @param {QuestionName} question */
function renderMachine({ machine, versions, missing }, question) {
  const rows = [
    ['processor', `${machine.processor}, ${machine.cores} cores`],
    ['memory', `${formatMebibytes(machine.memoryBytes)} MiB`],
    ['kernel', machine.kernel],
    ['system', machine.system],
    ['date', machine.date],
    ['command', `\`${machine.command}\``],
    ['again from the numbers', `\`node bench/report/main.mjs bench/results/${question}.json\``],
    ...Object.entries(versions).map(([name, version]) => [name, version]),
  ];
  const absent = missing.map(({ product, reason }) => `- without ${product}: ${reason}`);
  return [
    formatTable(['what', 'which'], rows, ['which']),
    ...(absent.length === 0 ? [] : [absent.join('\n')]),
  ].join('\n\n');
}
