import { expect, test } from 'vitest';
import { prepareGoTools } from './go-tools.mjs';
import { soak } from './soak.mjs';
import { findGrowth } from './soak-limits.mjs';
import { testedRuntime } from './tested-runtime.js';

const tools = await prepareGoTools(console.log);

test('sessions that end or break off leave nothing behind (a hundredth of "npm run soak")', async ({
  skip,
}) => {
  if ('reason' in tools) return skip(tools.reason);
  if (testedRuntime() !== 'cais') return skip('only a runtime in Node.js can be asked to collect');
  const result = await soak(tools, { first: 50, execs: 100, attaches: 28, say: console.log });
  expect(findGrowth(result)).toEqual([]);
});
