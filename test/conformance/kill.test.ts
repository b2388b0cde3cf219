import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { openTestBed, type TestBed } from './bed.mjs';
import { prepareGoTools } from './go-tools.mjs';
import { findStageLeaks } from './stage-leaks.mjs';
import { testedRuntime } from './tested-runtime.js';

/** All fifty take some minutes, which CI spends on other things; CAIS_KILLS=50 has them. */
const KILLS = Number(process.env['CAIS_KILLS'] ?? 8);
const WORKERS = Number(process.env['CAIS_KILL_PODS'] ?? 100);
const STEADY_PODS = 5;
/** Between a start of the runtime and its end. */
const LIFE_MAX_MS = 3000;
const PROGRESS_TIMEOUT_MS = 180_000;
/** So often nothing new is seen, with a pause after each look, before the runtime counts as quiet. */
const QUIET_PASSES = 5;
const QUIET_PAUSE_MS = 500;
const REPORT_TIMEOUT_MS = 120_000;

interface State {
  readonly pods: readonly { readonly name: string; readonly state: string }[];
  readonly containers: readonly {
    readonly id: string;
    readonly pod: string;
    readonly state: string;
    readonly startedAtNanos: number;
    readonly logPath: string;
  }[];
}

const tools = await prepareGoTools(console.log);
if ('reason' in tools) {
  test('the runtime is killed', ({ skip }) => skip(tools.reason));
} else {
  describe(`while ${WORKERS} pods start and stop at a time, the runtime is killed ${KILLS} times`, () => {
    test('and every pod can be listed, stopped and removed, and what ran goes on', async () => {
      const bed = await openTestBed({ kind: testedRuntime(), tools });
      try {
        const logs = join(bed.stage.directory, 'logs');
        const steady = (await bed.load(
          ...['fill', '--prefix=steady', '--count', `--pods=${STEADY_PODS}`, `--logs=${logs}`],
        )) as { pods: string[]; containers: string[] };
        const before = steadyContainers(await stateOf(bed), steady.containers);

        const churn = bed.startLoad('churn', `--workers=${WORKERS}`, `--logs=${logs}`);
        const lives = Array.from({ length: KILLS }, () => Math.round(Math.random() * LIFE_MAX_MS));
        console.log(`The runtime lives for ${lives.join(', ')} ms`);
        for (const life of lives) {
          await delay(life);
          await bed.runtime.kill();
          await bed.runtime.start();
        }
        // Under so many pods, and after so many ends, there is still progress.
        await churn.until(/^finished \d+$/m, PROGRESS_TIMEOUT_MS);
        churn.kill('SIGTERM');
        await Promise.race([churn.exited, delay(REPORT_TIMEOUT_MS)]);
        const report = JSON.parse(churn.log().trim().split('\n').at(-1) ?? '');
        console.log(`${report.finished} pods lived, ${report.repeated} calls were repeated`);
        expect(report.errors).toEqual([]);

        expect(steadyContainers(await stateOf(bed), steady.containers)).toEqual(before);
        expect(before.map(({ state }) => state)).toEqual(
          steady.containers.map(() => 'CONTAINER_RUNNING'),
        );
        await clearUntilQuiet(bed, 'churn');
        const after = await stateOf(bed);
        expect(after.pods.map(({ name }) => name).sort()).toEqual(
          steady.pods.map((_, index) => `steady-${index}`),
        );
        for (const { logPath } of before) expect(findGap(logPath)).toBeUndefined();

        await bed.load('clear');
        expect(await stateOf(bed)).toEqual({ pods: [], containers: [] });
        await bed.runtime.stop();
        expect(await findStageLeaks(bed)).toEqual([]);
      } catch (error) {
        console.log(
          `The log of the runtime ends with:\n${bed.runtime.program().log().slice(-6000)}`,
        );
        throw error;
      } finally {
        await bed.close();
      }
    });
  });
}

/** Removes pods of this name until no more appear: a pod whose client went away is made all the same. */
async function clearUntilQuiet(bed: TestBed, prefix: string): Promise<void> {
  const deadline = performance.now() + REPORT_TIMEOUT_MS;
  let quietPasses = 0;
  while (quietPasses < QUIET_PASSES) {
    const { pods } = (await bed.load('clear', `--prefix=${prefix}`)) as { pods: number };
    quietPasses = pods === 0 ? quietPasses + 1 : 0;
    if (performance.now() > deadline) throw new Error(`Pods named ${prefix}-… keep appearing`);
    await delay(QUIET_PAUSE_MS);
  }
}

async function stateOf(bed: TestBed): Promise<State> {
  return (await bed.load('state')) as State;
}

function steadyContainers({ containers }: State, ids: readonly string[]) {
  return ids.map((id) => {
    const found = containers.find((container) => container.id === id);
    if (!found) throw new Error(`The container ${id} is not listed`);
    return found;
  });
}

/** The first place where a log of numbers does not go on; none: nothing was lost, and nothing was written twice. */
function findGap(path: string): string | undefined {
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
  if (lines.length === 0) return `${path} is empty`;
  for (const [index, line] of lines.entries()) {
    const [, number] = /^\S+ stdout F (\d+)$/.exec(line) ?? [];
    if (Number(number) !== index + 1) return `${path}, line ${index + 1}: ${line}`;
  }
  return undefined;
}
