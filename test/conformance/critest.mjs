import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** @typedef {import('./stage.mjs').Stage} Stage */
/** @typedef {import('./go-tools.mjs').GoTools} GoTools */

const SUITE_TIMEOUT_MS = 3_600_000;

/**
 * @typedef {object} CritestOptions
 * @property {string} endpoint `unix://…`
 * @property {readonly string[]} [focus] regular expressions of names
 * @property {readonly string[]} [skip]
 * @property {number} [parallel] processes; 1 by default
 * @property {boolean} [websocket] exec, attach and port-forward over WebSocket in place of SPDY
 * @property {string} [handler] runtime handler; the default one when absent
 * @property {number} [seed] of the random order
 * @property {boolean} [dryRun] runs nothing: every spec passes
 *
 * @typedef {object} Spec
 * @property {string} name as `--ginkgo.focus` sees it
 * @property {'passed' | 'failed' | 'skipped'} state
 * @property {string} message of the failure or of the skip; empty: skipped by a regular expression
 * @property {string} location
 * @property {number} seconds
 * @property {string} output what it wrote, for a failure
 */

/**
 * Runs critest in the stage, to its end.
 * @param {Stage} stage
 * @param {GoTools} tools
 * @param {CritestOptions} options
 * @returns {Promise<Spec[]>}
 * @throws Error with its output, if it leaves no report
 */
export async function runCritest(stage, tools, options) {
  const { endpoint, focus = [], skip = [], parallel = 1, websocket = false, handler } = options;
  const directory = mkdtempSync(join(stage.directory, 'tmp/report-'));
  try {
    const { stdout, stderr } = await stage.run(
      [
        ...['env', `--chdir=${directory}`, tools.critest],
        `--runtime-endpoint=${endpoint}`,
        // critest looks for its own configuration in /etc otherwise.
        `--config=${join(directory, 'none.yaml')}`,
        '--ginkgo.no-color',
        // A bare name: in parallel runs ginkgo puts absolute ones below a directory of its own.
        '--ginkgo.json-report=report.json',
        ...focus.map((pattern) => `--ginkgo.focus=${pattern}`),
        ...skip.map((pattern) => `--ginkgo.skip=${pattern}`),
        // Ginkgo refuses the value 1.
        ...(parallel > 1 ? [`--parallel=${parallel}`] : []),
        ...(websocket ? ['--websocket-exec', '--websocket-attach', '--websocket-portforward'] : []),
        ...(handler === undefined ? [] : [`--runtime-handler=${handler}`]),
        ...(options.seed === undefined ? [] : [`--ginkgo.seed=${options.seed}`]),
        ...(options.dryRun ? ['--ginkgo.dry-run'] : []),
      ],
      { mayFail: true, timeoutMs: SUITE_TIMEOUT_MS },
    );
    const path = join(directory, 'report.json');
    if (!existsSync(path)) {
      throw new Error(
        `critest left no report; it printed:\n${`${stdout}\n${stderr}`.slice(-8000)}`,
      );
    }
    return readReport(readFileSync(path, 'utf8'));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/**
 * The part of Ginkgo's report that is read here.
 * @typedef {object} SpecReport
 * @property {string} LeafNodeType
 * @property {string[] | null} ContainerHierarchyTexts
 * @property {string} LeafNodeText
 * @property {string} State
 * @property {number} RunTime nanoseconds
 * @property {string} [CapturedGinkgoWriterOutput]
 * @property {{ Message?: string, ForwardedPanic?: string, Location?: { FileName?: string, LineNumber?: number } }} [Failure]
 */

/**
 * Reads a report of Ginkgo: specs in the order of their names, and set-ups of the whole suite where they failed.
 * @param {string} text
 * @returns {Spec[]}
 * @see Ginkgo, types.Report
 */
export function readReport(text) {
  /** @type {{ SpecReports: SpecReport[] | null }[]} */
  const reports = JSON.parse(text);
  return reports
    .flatMap(({ SpecReports }) => SpecReports ?? [])
    .filter(({ LeafNodeType, State }) => LeafNodeType === 'It' || isFailure(State))
    .map((spec) => ({
      name: [...(spec.ContainerHierarchyTexts ?? []), spec.LeafNodeText || spec.LeafNodeType].join(
        ' ',
      ),
      state: stateOf(spec.State),
      message: [spec.Failure?.Message, spec.Failure?.ForwardedPanic].filter(Boolean).join(': '),
      location: locationOf(spec.Failure?.Location),
      seconds: spec.RunTime / 1e9,
      output: spec.CapturedGinkgoWriterOutput ?? '',
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** @param {string} state */
function isFailure(state) {
  return !['passed', 'skipped', 'pending', ''].includes(state);
}

/**
 * @param {string} state
 * @returns {Spec['state']}
 */
function stateOf(state) {
  if (state === 'passed') return 'passed';
  return isFailure(state) ? 'failed' : 'skipped';
}

/** @param {{ FileName?: string, LineNumber?: number } | undefined} location */
function locationOf(location) {
  if (!location?.FileName) return '';
  return `${location.FileName.replace(/^.*cri-tools@[^/]*\//, '')}:${location.LineNumber}`;
}
