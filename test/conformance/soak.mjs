import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { openTestBed } from './bed.mjs';
import { measureProcess, processesOf, proportionalBytes } from './process-measures.mjs';

/** @typedef {import('./bed.mjs').TestBed} TestBed */
/** @typedef {import('./go-tools.mjs').GoTools} GoTools */
/** @typedef {import('./process-measures.mjs').ProcessMeasure} ProcessMeasure */

const COLLECT = join(import.meta.dirname, 'collect-garbage.cjs');
const SETTLE_TIMEOUT_MS = 30_000;
const COLLECT_TIMEOUT_MS = 20_000;

/**
 * @typedef {object} SoakMeasure
 * @property {ProcessMeasure} runtime after a collection
 * @property {number} heapBytes
 * @property {number} supervisorDescriptors of all supervisors
 * @property {number} supervisorThreads
 * @property {number} supervisorBytes proportional
 *
 * @typedef {object} SoakResult
 * @property {SoakMeasure} before after the first sessions
 * @property {SoakMeasure} after
 */

/**
 * Runs execs to their end and breaks attached sessions off at every step of their protocols, and measures the runtime before and
 * after, when what is under way has ended.
 * @param {GoTools} tools
 * @param {object} options
 * @param {string} [options.kind]
 * @param {number} options.first sessions before the first measure
 * @param {number} options.execs
 * @param {number} options.attaches
 * @param {(line: string) => void} options.say
 * @returns {Promise<SoakResult>}
 */
export async function soak(tools, { kind = 'cais', first, execs, attaches, say }) {
  const bed = await openTestBed({
    kind,
    tools,
    say,
    env: { NODE_OPTIONS: `--require=${COLLECT}` },
  });
  try {
    const { containers } = /** @type {{ containers: string[] }} */ (
      await bed.load('fill', '--stdin')
    );
    const container = `--container=${containers[0]}`;
    await bed.load('execs', container, `--count=${first}`);
    await bed.load('drops', container, `--count=${Math.max(14, Math.round(first / 10))}`);
    const before = await measure(bed, undefined);
    say(`before: ${JSON.stringify(before)}`);
    await bed.load('execs', container, `--count=${execs}`, '--timeout=2h');
    await bed.load('drops', container, `--count=${attaches}`, '--timeout=1h');
    const after = await measure(bed, before);
    say(`after:  ${JSON.stringify(after)}`);
    return { before, after };
  } finally {
    await bed.close();
  }
}

/**
 * @param {TestBed} bed
 * @param {SoakMeasure | undefined} before what is waited for: sessions that were dropped end a moment later
 * @returns {Promise<SoakMeasure>}
 */
async function measure(bed, before) {
  const deadline = performance.now() + SETTLE_TIMEOUT_MS;
  for (;;) {
    const heapBytes = await collectGarbage(bed);
    const supervisors = processesOf(bed.stage.processes(), 'cais-supervisor');
    const each = supervisors.map(measureProcess);
    const found = {
      runtime: measureProcess(bed.runtime.program().pid()),
      heapBytes,
      supervisorDescriptors: each.reduce((sum, { descriptors }) => sum + descriptors, 0),
      supervisorThreads: each.reduce((sum, { threads }) => sum + threads, 0),
      supervisorBytes: supervisors.reduce((sum, pid) => sum + proportionalBytes(pid), 0),
    };
    const isSettled =
      before !== undefined &&
      found.runtime.descriptors <= before.runtime.descriptors &&
      found.supervisorDescriptors <= before.supervisorDescriptors;
    if (isSettled || performance.now() > deadline) return found;
    // The first measure has nothing to compare with: it takes what is there when nothing has changed for a while.
    await delay(before === undefined ? 5000 : 500);
    if (before === undefined) return await measure(bed, found);
  }
}

/** @param {TestBed} bed */
async function collectGarbage({ runtime }) {
  const path = join(runtime.directory, 'memory.json');
  rmSync(path, { force: true });
  runtime.program().kill('SIGUSR2');
  const deadline = performance.now() + COLLECT_TIMEOUT_MS;
  for (;;) {
    try {
      const usage = JSON.parse(readFileSync(path, 'utf8'));
      return /** @type {number} */ (usage.heapUsed + usage.external);
    } catch (error) {
      if (performance.now() > deadline) {
        throw new Error('The runtime did not collect its garbage', { cause: error });
      }
      await delay(50);
    }
  }
}
