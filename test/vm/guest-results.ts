/** The part of vitest's JSON report that we read. */
interface JsonReport {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message?: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages?: readonly string[];
    }[];
  }[];
}

/** What became of one test file in the guest. */
export interface GuestFileResult {
  readonly passed: number;
  readonly skipped: readonly string[];
  /** Name and message of each failed test, and of a file that could not be loaded. */
  readonly failures: readonly string[];
}

/** Marks that frame the report on the serial line, which other output shares. */
export const REPORT_BEGIN = '-----BEGIN REPORT-----';
export const REPORT_END = '-----END REPORT-----';

/**
 * Reads what the guest sent, by path of the test file relative to `directory`, where the guest has the repository.
 * @throws Error when the report is not complete.
 */
export function parseGuestResults(
  text: string,
  { directory }: { readonly directory: string },
): Map<string, GuestFileResult> {
  const begin = text.indexOf(REPORT_BEGIN);
  const end = text.indexOf(REPORT_END);
  if (begin === -1 || end === -1) throw new Error('The guest sent no complete report');
  const report = JSON.parse(text.slice(begin + REPORT_BEGIN.length, end)) as JsonReport;
  return new Map(
    report.testResults.map((file) => [
      file.name.replace(`${directory}/`, ''),
      {
        passed: file.assertionResults.filter(({ status }) => status === 'passed').length,
        skipped: file.assertionResults
          .filter(({ status }) => status === 'skipped' || status === 'pending')
          .map(({ fullName }) => fullName),
        failures: [
          ...file.assertionResults
            .filter(({ status }) => status === 'failed')
            .map(({ fullName, failureMessages = [] }) =>
              [fullName, ...failureMessages].join('\n  '),
            ),
          ...(file.status === 'failed' && file.message ? [file.message] : []),
        ],
      },
    ]),
  );
}
