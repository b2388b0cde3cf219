import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openTestBed } from './bed.mjs';
import { runCritest } from './critest.mjs';
import { judge, SKIPPED_PATTERNS, type Verdict } from './expectations.mjs';
import { type GoTools, prepareGoTools } from './go-tools.mjs';
import { openStage } from './stage.mjs';
import { testedRuntime } from './tested-runtime.js';

/** How often, and with what, the whole of critest runs. The newer version has image volumes, metrics and NRI beside the rest. */
const RUNS = [
  { title: 'critest 1.36', version: '1.36', options: {} },
  { title: 'critest 1.37', version: '1.37', options: {} },
  { title: 'critest 1.36 over WebSocket', version: '1.36', options: { websocket: true } },
  { title: 'critest 1.36 with the handler runc', version: '1.36', options: { handler: 'runc' } },
];
const PARALLEL = 8;

const OUTPUT_MAX_CHARS = 3000;
const LOG_END_CHARS = 6000;

for (const { title, version, options } of RUNS) {
  const tools = await prepareGoTools(console.log, version);
  if ('reason' in tools) {
    test(title, ({ skip }) => skip(tools.reason));
    continue;
  }
  const names = await listSpecs(tools);
  describe(title, () => {
    const verdicts = new Map<string, Verdict>();
    let log = '';
    beforeAll(async () => {
      const kind = testedRuntime();
      const bed = await openTestBed({ kind, tools });
      try {
        const specs = await runCritest(bed.stage, tools, {
          endpoint: bed.runtime.endpoint,
          skip: SKIPPED_PATTERNS,
          parallel: PARALLEL,
          ...options,
        });
        for (const spec of specs) {
          const verdict = judge(spec, { isPeer: kind !== 'cais', handler: options.handler });
          verdicts.set(verdict.name, verdict);
        }
        log = bed.runtime.program().log();
      } finally {
        await bed.close();
      }
    });
    afterAll(() => {
      if ([...verdicts.values()].some(({ state }) => state === 'failed')) {
        console.log(`The log of the runtime ends with:\n${log.slice(-LOG_END_CHARS)}`);
      }
    });

    test('the set-up of the suite succeeds', () => {
      // What is no spec and failed: BeforeSuite and its like.
      const others = [...verdicts.values()].filter(({ name }) => !names.includes(name));
      expect(others.map(({ name, reason }) => `${name}: ${reason}`)).toEqual([]);
    });

    test.for(names)('%s', (name, { skip }) => {
      const verdict = verdicts.get(name);
      if (!verdict) throw new Error('critest does not report this spec');
      if (verdict.state === 'skipped') skip(verdict.reason);
      if (verdict.state === 'failed') {
        const { location, output } = verdict.spec;
        throw new Error(`${verdict.reason}\nat ${location}\n${output.slice(-OUTPUT_MAX_CHARS)}`);
      }
    });
  });
}

/** Names of the specs that critest registers on this machine. */
async function listSpecs(tools: GoTools): Promise<string[]> {
  const stage = await openStage({ path: [tools.directory] });
  try {
    const specs = await runCritest(stage, tools, { endpoint: 'unix:///none', dryRun: true });
    return specs.map(({ name }) => name);
  } finally {
    await stage.close();
  }
}
