import { defineConfig } from 'vitest/config';

// Tests that run a machine or a whole system of their own: after the others, since they take a core for minutes.
const MACHINE_TESTS = ['test/vm/*.test.ts', 'test/fresh/*.test.ts'];

export default defineConfig({
  test: {
    maxWorkers: 2,
    globalSetup: ['test/fixtures/global-leak-check.ts'],
    projects: [
      {
        test: {
          name: 'main',
          pool: 'forks',
          include: ['test/**/*.test.ts'],
          exclude: MACHINE_TESTS,
          // Real kernels, registries and containers: a test that hangs must fail by itself, with room for two busy cores.
          testTimeout: 60_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'machine',
          pool: 'forks',
          include: MACHINE_TESTS,
          testTimeout: 1_200_000,
          hookTimeout: 1_200_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
