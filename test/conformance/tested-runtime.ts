/**
 * The runtime that the tests of this directory run against: cais, unless CAIS_CONFORMANCE_RUNTIME names another one, which shows
 * whether a failure is the runtime's or the test's.
 */
export function testedRuntime(): string {
  return process.env['CAIS_CONFORMANCE_RUNTIME'] ?? 'cais';
}
