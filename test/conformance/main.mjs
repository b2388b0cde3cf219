// npm run conformance: critest against cais, or against another runtime. See arguments.mjs for the options.
import { appendFileSync } from 'node:fs';
import { parseArguments, USAGE } from './arguments.mjs';
import { openTestBed } from './bed.mjs';
import { runCritest } from './critest.mjs';
import { judge, SKIPPED_PATTERNS } from './expectations.mjs';
import { prepareGoTools } from './go-tools.mjs';
import { describeRun } from './report.mjs';
import { openStage } from './stage.mjs';

/** @typedef {import('./arguments.mjs').Arguments} Arguments */
/** @typedef {import('./go-tools.mjs').GoTools} GoTools */

const LOG_END_CHARS = 6000;

process.exitCode = await main();

async function main() {
  /** @type {Arguments} */
  let options;
  try {
    options = parseArguments(process.argv.slice(2));
  } catch (error) {
    console.error(`conformance: ${/** @type {Error} */ (error).message}\n\n${USAGE}`);
    return 2;
  }
  if (options.help) {
    console.log(USAGE);
    return 0;
  }
  const tools = await prepareGoTools(say, options.criTools);
  if ('reason' in tools) {
    say(`skipped: ${tools.reason}`);
    console.log('\n0 passed, 0 failed, 1 skipped');
    return 0;
  }
  if (options.list) return await list(tools);

  let hasFailed = false;
  for (let round = 1; round <= options.repeat; round += 1) {
    if (options.repeat > 1) say(`round ${round} of ${options.repeat}`);
    hasFailed = !(await run(tools, options, round === options.repeat)) || hasFailed;
  }
  return hasFailed ? 1 : 0;
}

/** @param {string} line */
function say(line) {
  console.log(`conformance: ${line}`);
}

/** @param {GoTools} tools */
async function list(tools) {
  const stage = await openStage({ path: [tools.directory] });
  try {
    const specs = await runCritest(stage, tools, { endpoint: 'unix:///none', dryRun: true });
    for (const { name } of specs) console.log(name);
    return 0;
  } finally {
    await stage.close();
  }
}

/**
 * One run with a fresh runtime.
 * @param {GoTools} tools
 * @param {Arguments} options
 * @param {boolean} isLast
 * @returns {Promise<boolean>} whether nothing failed
 */
async function run(tools, options, isLast) {
  const bed = await openTestBed({
    kind: options.runtime,
    tools,
    say,
    keep: options.keep && isLast,
  });
  // The stage ends with this process, but its directory and cgroups are removed by us.
  const interrupt = () => void bed.close().finally(() => process.exit(130));
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    process.once(signal, interrupt);
  }
  try {
    const started = performance.now();
    const specs = await runCritest(bed.stage, tools, {
      endpoint: bed.runtime.endpoint,
      focus: options.focus,
      skip: [...SKIPPED_PATTERNS, ...options.skip],
      parallel: options.parallel,
      websocket: options.websocket,
      ...(options.handler === undefined ? {} : { handler: options.handler }),
      ...(options.seed === undefined ? {} : { seed: options.seed }),
    });
    const verdicts = specs.map((spec) =>
      judge(spec, { isPeer: options.runtime !== 'cais', handler: options.handler }),
    );
    const hasFailed = verdicts.some(({ state }) => state === 'failed');
    const log = bed.runtime.program().log();
    if (options.log !== undefined) appendFileSync(options.log, log);
    else if (hasFailed)
      console.log(`The log of the runtime ends with:\n${log.slice(-LOG_END_CHARS)}\n`);
    console.log(describeRun(verdicts, (performance.now() - started) / 1000));
    if (options.keep && isLast) say(`kept ${bed.stage.directory}`);
    return !hasFailed;
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.removeListener(signal, interrupt);
    await bed.close();
  }
}
