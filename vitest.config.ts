import { defineConfig } from 'vitest/config';

/** A whole system or machine of its own takes minutes, and most of them to build. */
const MACHINE_TIMEOUT_MS = 1_200_000;

/** Tests of CNI name their own directory: other programs of this machine may have left a network in the usual one. */
const env = { CAIS_CNI_CONF_DIR: '' };

/** The virtual machine emulates its processor. */
const TIME_FACTOR = Number(process.env['CAIS_TIME_FACTOR'] ?? 1);

export default defineConfig({
  test: {
    maxWorkers: 2,
    globalSetup: ['test/fixtures/global-leak-check.ts'],
    projects: [
      {
        test: {
          name: 'main',
          pool: 'forks',
          env,
          include: ['test/**/*.test.ts'],
          exclude: ['test/fresh/**', 'test/vm/**', 'test/conformance/*.test.ts'],
          // Real kernels, registries and containers: a test that hangs must fail by itself, with room for two busy cores (the longest
          // without a limit of its own takes 25 s on a quiet machine).
          testTimeout: 120_000 * TIME_FACTOR,
          hookTimeout: 120_000 * TIME_FACTOR,
          sequence: { groupOrder: 0 },
        },
      },
      // One after the other: the fresh system is timed, and the virtual machine takes both cores.
      {
        test: {
          name: 'fresh',
          pool: 'forks',
          env,
          include: ['test/fresh/*.test.ts'],
          testTimeout: MACHINE_TIMEOUT_MS,
          hookTimeout: MACHINE_TIMEOUT_MS,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'vm',
          pool: 'forks',
          maxWorkers: 1,
          env,
          include: ['test/vm/*.test.ts'],
          testTimeout: MACHINE_TIMEOUT_MS,
          hookTimeout: MACHINE_TIMEOUT_MS,
          sequence: { groupOrder: 2 },
        },
      },
      // Measures, kills, and fills the machine with containers: one file at a time.
      {
        test: {
          name: 'conformance',
          pool: 'forks',
          maxWorkers: 1,
          include: ['test/conformance/*.test.ts'],
          testTimeout: MACHINE_TIMEOUT_MS,
          hookTimeout: MACHINE_TIMEOUT_MS,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
