// npm run soak: 10,000 execs and 1,000 attached sessions that break off; --hundredth has a hundredth of them.
import { prepareGoTools } from './go-tools.mjs';
import { soak } from './soak.mjs';
import { findGrowth } from './soak-limits.mjs';

const divisor = process.argv.includes('--hundredth') ? 100 : 1;
/** @type {(line: string) => void} */
const say = (line) => console.log(`soak: ${line}`);

const tools = await prepareGoTools(say);
if ('reason' in tools) {
  say(`skipped: ${tools.reason}`);
} else {
  const growth = findGrowth(
    await soak(tools, { first: 500, execs: 10_000 / divisor, attaches: 1000 / divisor, say }),
  );
  for (const line of growth) say(`grew: ${line}`);
  if (growth.length === 0) say('nothing grew');
  process.exitCode = growth.length === 0 ? 0 : 1;
}
