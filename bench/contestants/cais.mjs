import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { percentiles } from '../event-loop-delays.mjs';
import { median } from '../limit/arithmetic.mjs';
import { openPlace } from '../place.mjs';
import { warmUpReference } from '../registry.mjs';
import { watchStandstills, withoutStandstills } from '../standstills.mjs';
import { makeVariants } from '../variants.mjs';
import { CONTAINER_CGROUP, removeContainerCgroups } from './container-cgroups.mjs';

/** @import { MeasureConcurrent } from '../questions/pull.mjs' */
/** @import { Stretch } from '../standstills.mjs' */
/** @import { EventLoopDelay, Contestant, DaemonHandle, Found, RunPlace } from '../contract.js' */

const ROOT = join(import.meta.dirname, '../..');
const WORKER = join(import.meta.dirname, 'cais-worker.mjs');
const CLI = join(ROOT, 'bin/cais');
const COMMAND_TIMEOUT_MS = 600_000;

/**
 * cais in both forms of its layers: the engine in a process that is there already, as an embedding program or a daemon is, and the
 * command line, whose every call starts a process.
 * @returns {Promise<Found[]>}
 */
export async function findCais() {
  if (
    !existsSync(join(ROOT, 'dist/engine.js')) ||
    !existsSync(join(ROOT, 'build/Release/cais.node'))
  ) {
    return [{ product: 'cais', missing: 'it is not built; run "npm run setup"' }];
  }
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  return [
    engine({ form: 'image', version }),
    engine({ form: 'directory', version }),
    commandLine({ form: 'image', version }),
  ];
}

/**
 * A worker that has an open engine, spoken to line by line.
 * @typedef {object} Worker
 * @property {(command: string, argument?: string) => Promise<any>} ask
 * @property {DaemonHandle} daemon
 */

/**
 * @param {RunPlace} place
 * @param {'image' | 'directory'} form
 * @returns {Promise<Worker>}
 */
async function startWorker(place, form) {
  const run = runDirectory(place);
  mkdirSync(run, { recursive: true });
  const daemon = await place.daemon([
    process.execPath,
    WORKER,
    join(place.directory, 'cais'),
    run,
    form,
    CONTAINER_CGROUP,
  ]);
  await daemon.until(/^\{"ready":true\}$/);
  return {
    daemon,
    ask: async (command, argument = '') => {
      const mark = daemon.log().length;
      daemon.write(JSON.stringify({ command, argument }));
      await daemon.until(new RegExp(`^\\{"done":"${command}"`), COMMAND_TIMEOUT_MS);
      const line = daemon
        .log()
        .slice(mark)
        .split('\n')
        .find((each) => each.startsWith(`{"done":"${command}"`));
      const answer = JSON.parse(line ?? '{}');
      if (answer.error !== undefined) throw new Error(answer.error);
      return answer;
    },
  };
}

/**
 * Sockets need short paths, so they are not on the run's disk.
 * @param {RunPlace} place
 */
function runDirectory(place) {
  return join('/run', `cais-bench-${place.directory.split('/').at(-1)?.slice(-12)}`);
}

/**
 * @param {{ readonly form: 'image' | 'directory', readonly version: string }} options
 * @returns {Contestant}
 */
function engine({ form, version }) {
  /** @type {Worker | undefined} */
  let worker;
  const ask = (/** @type {string} */ command, argument = '') => {
    if (worker === undefined) throw new Error('The worker is not there');
    return worker.ask(command, argument);
  };
  return {
    name: `cais-${form}`,
    title: `cais, ${form} form`,
    product: 'cais',
    version,
    questions: ['extract', 'pull'],
    verifies: true,
    form,
    prepare: async (place) => {
      worker = await startWorker(place, form);
      await ask('warmUp', place.question === 'pull' ? warmUpReference(place.workload) : '');
    },
    execute: async ({ question, workload }) => {
      const { seconds } = await (question === 'pull'
        ? ask('pull', workload.reference)
        : ask('load', workload.layoutDirectory));
      return seconds;
    },
    tree: async (_, visit) => {
      const { path } = await ask('tree');
      try {
        await visit(path);
      } finally {
        await ask('untree');
      }
    },
    remove: async () => (await ask('remove')).seconds,
    firstStart: async () => (await ask('firstStart')).seconds,
    cleanup: async (place) => {
      await worker?.daemon.stop();
      worker = undefined;
      rmSync(runDirectory(place), { recursive: true, force: true });
      await removeContainerCgroups();
    },
  };
}

/**
 * @param {{ readonly form: 'image' | 'directory', readonly version: string }} options
 * @returns {Contestant}
 */
function commandLine({ form, version }) {
  const global = (/** @type {RunPlace} */ place) => [
    CLI,
    '--root',
    join(place.directory, 'cais'),
    '--run',
    runDirectory(place),
    '--layer-form',
    form,
  ];
  return {
    name: `cais-cli-${form}`,
    title: `cais, ${form} form, command line`,
    product: 'cais',
    version,
    questions: ['extract', 'pull'],
    verifies: true,
    form,
    prepare: async () => {},
    execute: async (place) => {
      const { question, workload } = place;
      const command =
        question === 'pull'
          ? ['pull', workload.reference]
          : ['load', '--name', 'bench.localhost/image:bench', workload.layoutDirectory];
      return (await place.run([...global(place), ...command])).seconds;
    },
    tree: async (place, visit) => {
      const worker = await startWorker(place, form);
      try {
        await visit((await worker.ask('tree')).path);
      } finally {
        await worker.ask('untree');
        await worker.daemon.stop();
      }
    },
    cleanup: async (place) => {
      rmSync(runDirectory(place), { recursive: true, force: true });
    },
  };
}

/**
 * Pulls eight different images at the same time, in one engine: two of each small workload and compression, which differ in one file of each layer.
 * @type {MeasureConcurrent}
 */
export async function measureConcurrent({ workloads, rounds, open, beforehand }) {
  const small = workloads.filter(({ name }) => name !== 'big');
  const images = await makeVariants(small, Math.ceil(8 / Math.max(1, small.length)));
  const chosen = images.slice(0, 8);
  const [first] = small;
  if (first === undefined) throw new Error('There is neither debian nor app to pull');
  /** @type {{ seconds: number, delays: EventLoopDelay, ownDelays: EventLoopDelay, standstillSeconds: number | null, peakMemoryBytes: number }[]} */
  const results = [];
  for (let round = 0; round < rounds; round++) {
    const disk = await open();
    try {
      const { directory } = disk;
      const { place, measure, close } = await openPlace({
        question: 'pull',
        workload: first,
        directory,
      });
      try {
        const worker = await startWorker(place, 'image');
        await worker.ask('warmUp', warmUpReference(first));
        await beforehand(chosen.map((_image, i) => small[i % small.length] ?? first));
        const machine = watchStandstills();
        let eventLoop;
        let cost;
        let standstills;
        try {
          cost = await measure(async () => {
            const answer = await worker.ask('concurrent', JSON.stringify(chosen));
            eventLoop = answer.delays;
            return answer.seconds;
          });
        } finally {
          standstills = await machine.stop();
        }
        results.push({
          seconds: cost.seconds,
          peakMemoryBytes: cost.peakMemoryBytes,
          ...judgeDelays(eventLoop ?? [], standstills),
        });
      } finally {
        await close();
        rmSync(runDirectory(place), { recursive: true, force: true });
      }
    } finally {
      await disk.close();
    }
  }
  const seconds = results.map((result) => result.seconds);
  return {
    images: chosen,
    seconds,
    medianSeconds: median(seconds),
    eventLoopDelay: summarizeDelays(results.map(({ ownDelays }) => ownDelays)),
    eventLoopDelayWithStandstills: summarizeDelays(results.map(({ delays }) => delays)),
    standstillSeconds: results.map(({ standstillSeconds }) => standstillSeconds),
    peakMemoryBytes: Math.max(...results.map(({ peakMemoryBytes }) => peakMemoryBytes)),
  };
}

/**
 * @param {readonly { readonly endMs: number, readonly delayMs: number }[]} eventLoop
 * @param {readonly Stretch[] | undefined} standstills
 */
function judgeDelays(eventLoop, standstills) {
  return {
    delays: percentiles(eventLoop.map(({ delayMs }) => delayMs)),
    ownDelays: percentiles(withoutStandstills(eventLoop, standstills ?? [])),
    standstillSeconds:
      standstills?.reduce((sum, [from, to]) => sum + (to - from) / 1000, 0) ?? null,
  };
}

/**
 * Medians over the rounds, and the maximum of all.
 * @param {readonly EventLoopDelay[]} rounds
 * @returns {EventLoopDelay}
 */
function summarizeDelays(rounds) {
  const middle = (/** @type {keyof EventLoopDelay} */ key) =>
    median(rounds.map((round) => round[key]));
  return {
    p50Ms: middle('p50Ms'),
    p99Ms: middle('p99Ms'),
    p999Ms: middle('p999Ms'),
    maxMs: Math.max(...rounds.map(({ maxMs }) => maxMs)),
  };
}
