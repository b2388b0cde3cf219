// Measures cais against its peers and against the limit of the machine.
//   npm run bench -- [extract|pull]… [options]     (--help describes them)
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArguments, USAGE, UsageError } from './arguments.mjs';
import { Ballast } from './ballast.mjs';
import { findCais, measureConcurrent } from './contestants/cais.mjs';
import { buildLimitProgram } from './limit/build.mjs';
import { describeMachine } from './machine.mjs';
import { findPeers } from './peers.mjs';
import { PATIENCE_SECONDS, Patience, PlacementWatch } from './placement.mjs';
import { askExtract } from './questions/extract.mjs';
import { askPull } from './questions/pull.mjs';
import { startBenchRegistry } from './registry.mjs';
import { writeReport } from './report/write.mjs';
import { secondsSince } from './rounds.mjs';
import { UndoStack } from './undo-stack.mjs';
import { prepareWorkloads } from './workloads.mjs';

/** @import { BenchOptions } from './arguments.mjs' */
/** @import { Contestant, Found, QuestionName, Results } from './contract.js' */

const RESULTS_DIRECTORY = join(import.meta.dirname, 'results');
const SIGNALS = /** @type {const} */ ([
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
]);

const started = performance.now();
const undo = new UndoStack();

/** @param {string} message */
function say(message) {
  process.stderr.write(`bench ${secondsSince(started).padStart(6)} s  ${message}\n`);
}

for (const [signal, exitCode] of SIGNALS) {
  process.on(signal, async () => {
    if (undo.isClosing) return;
    say(`${signal}: undoing everything`);
    for (const failure of await undo.closeAll()) say(`while undoing: ${failure.message}`);
    process.exit(exitCode);
  });
}

try {
  const options = parseArguments(process.argv.slice(2));
  if (options.help) process.stdout.write(USAGE);
  else await run(options);
} catch (error) {
  // The handler of the signal ends the process when all is undone.
  if (!undo.isClosing) {
    await undo.closeAll();
    if (error instanceof UsageError) {
      process.stderr.write(`${error.message}\n\n${USAGE}`);
      process.exitCode = 2;
    } else {
      console.error(error);
      process.exitCode = 1;
    }
  }
}

/** @param {BenchOptions} options */
async function run(options) {
  const { peers, peerRoot, install, compressions, rounds, isQuick } = options;
  buildLimitProgram();
  const found = [
    ...(await findCais()),
    ...(await findPeers({ install, say, ...(peerRoot === undefined ? {} : { peerRoot }) })),
  ];
  const { contestants, missing } = choosePeers(found, peers);
  for (const { product, reason } of missing) say(`without ${product}: ${reason}`);
  const workloads = await prepareWorkloads({ names: options.workloads, compressions, say });

  const { opened: ballast, close: dropBallast } = await undo.open(async () => new Ballast(undo));
  const { opened: placement, close: stopLooking } = await undo.open(
    async () =>
      new PlacementWatch(undo, {
        say,
        patience: new Patience(PATIENCE_SECONDS[isQuick ? 'quick' : 'full']),
      }),
  );
  const shared = {
    contestants,
    missing,
    machine: describeMachine(process.argv.slice(2)),
    rounds,
    isQuick,
    undo,
    ballast,
    placement,
    say,
  };
  /** @type {[QuestionName, Results][]} */
  const answers = [];
  if (options.questions.includes('extract')) {
    answers.push(['extract', await askExtract({ ...shared, workloads })]);
  }
  if (options.questions.includes('pull')) {
    const { opened: registry, close } = await undo.open(async () => {
      const handle = await startBenchRegistry(workloads);
      return { handle, close: () => handle.stop() };
    });
    const { handle } = registry;
    const pulled = handle.workloads;
    answers.push([
      'pull',
      await askPull({ ...shared, measureConcurrent, workloads: pulled, registry: handle }),
    ]);
    await close();
  }
  await stopLooking();
  await dropBallast();
  publish(answers, options);
}

/**
 * cais always takes part; of the others, the products that were asked for.
 * @param {readonly Found[]} found
 * @param {readonly string[] | undefined} wanted products, or contestants by their names; undefined: all
 * @returns {{ contestants: Contestant[], missing: Results['missing'] }}
 */
function choosePeers(found, wanted) {
  const products = [...new Set(found.map(({ product }) => product))];
  const names = found.flatMap((one) => ('missing' in one ? [] : [one.name]));
  const unknown = wanted?.find((each) => !products.includes(each) && !names.includes(each));
  if (unknown !== undefined) {
    const expected = [...products, ...names].join(', ');
    throw new UsageError(`Unknown peer "${unknown}": expected one of ${expected}`);
  }
  const chosen = found.filter(
    (one) =>
      wanted === undefined ||
      one.product === 'cais' ||
      wanted.includes(one.product) ||
      (!('missing' in one) && wanted.includes(one.name)),
  );
  return {
    contestants: chosen.flatMap((one) => ('missing' in one ? [] : [one])),
    missing: chosen.flatMap((one) =>
      'missing' in one ? [{ product: one.product, reason: one.missing }] : [],
    ),
  };
}

/** @param {readonly [QuestionName, Results][]} answers @param {BenchOptions} options */
function publish(answers, { jsonPath }) {
  if (jsonPath !== undefined) {
    mkdirSync(dirname(jsonPath), { recursive: true });
    writeFileSync(
      jsonPath,
      `${JSON.stringify(joinResults(answers.map(([, results]) => results)), null, 2)}\n`,
    );
    say(`results in ${jsonPath}; pages of them: node bench/report/main.mjs ${jsonPath}`);
    return;
  }
  for (const [question, results] of answers) {
    for (const path of writeReport(RESULTS_DIRECTORY, { question, results })) say(`wrote ${path}`);
  }
}

/**
 * One file for all questions that were asked.
 * @param {readonly Results[]} answers
 * @returns {Results}
 */
function joinResults(answers) {
  const [first] = answers;
  if (first === undefined) throw new Error('Nothing was asked');
  const concurrent = answers.find((results) => results.concurrent !== undefined)?.concurrent;
  return {
    ...first,
    versions: Object.assign({}, ...answers.map(({ versions }) => versions)),
    runs: answers.flatMap(({ runs }) => runs),
    limits: answers.flatMap(({ limits }) => limits),
    afterwards: answers.flatMap(({ afterwards }) => afterwards),
    trees: answers.flatMap(({ trees }) => trees),
    ...(concurrent === undefined ? {} : { concurrent }),
  };
}
