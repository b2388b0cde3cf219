import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openTestBed, type TestBed } from './bed.mjs';
import { prepareGoTools } from './go-tools.mjs';
import { measureProcess, processesOf, proportionalBytes } from './process-measures.mjs';
import { testedRuntime } from './tested-runtime.js';

const PODS = 100;
const CONTAINERS_IN_POD = 5;
const LIST_MEDIAN_MAX_MS = 20;
const SERVE_MAX_BYTES = 150 * 2 ** 20;
const SUPERVISOR_MAX_BYTES = 0.3 * 2 ** 20;

const tools = await prepareGoTools(console.log);
if ('reason' in tools) {
  test('500 containers', ({ skip }) => skip(tools.reason));
} else {
  describe('500 containers in 100 pods', () => {
    let bed: TestBed;
    beforeAll(async () => {
      bed = await openTestBed({ kind: testedRuntime(), tools });
      await bed.load('fill', `--pods=${PODS}`, `--containers=${CONTAINERS_IN_POD}`);
    });
    afterAll(async () => await bed?.close());

    test('ListContainers answers within 20 ms, as a client in Go sees it', async () => {
      const latency = (await bed.load('latency', '--calls=200')) as {
        containers: number;
        medianMs: number;
      };
      console.log(`ListContainers: ${JSON.stringify(latency)}`);
      expect(latency.containers).toBe(PODS * CONTAINERS_IN_POD);
      expect(latency.medianMs).toBeLessThan(LIST_MEDIAN_MAX_MS);
    });

    test('the runtime stays below 150 MiB', () => {
      const { residentBytes } = measureProcess(bed.runtime.program().pid());
      console.log(`resident: ${mebibytes(residentBytes)} MiB`);
      expect(residentBytes).toBeLessThan(SERVE_MAX_BYTES);
    });

    test('supervisors stay below 0.3 MiB each on average', ({ skip }) => {
      if (testedRuntime() !== 'cais') skip('another runtime has other supervisors');
      const supervisors = processesOf(bed.stage.processes(), 'cais-supervisor');
      const bytes = supervisors.reduce((sum, pid) => sum + proportionalBytes(pid), 0);
      console.log(`${supervisors.length} supervisors: ${mebibytes(bytes)} MiB`);
      expect(supervisors.length).toBeGreaterThanOrEqual(PODS);
      expect(bytes / PODS).toBeLessThan(SUPERVISOR_MAX_BYTES);
    });

    test('all of them can be removed', async () => {
      expect(await bed.load('clear')).toEqual({ pods: PODS });
    });
  });
}

function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1);
}
