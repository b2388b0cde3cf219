import { parseArgs } from 'node:util';

import { DEFAULT_VERSION, MODULE_FILES } from './go-tools.mjs';

export const USAGE = `npm run conformance -- [OPTION…]

Runs critest against cais in namespaces of its own and prints what passed, failed and was skipped, and why.

  --focus RE             only specs whose name matches (may be repeated)
  --skip RE              not those (may be repeated)
  --parallel N           processes; 1 by default
  --websocket            exec, attach and port-forward over WebSocket
  --handler NAME         runtime handler
  --repeat N             so many times, one after the other; 1 by default
  --cri-tools VERSION    ${Object.keys(MODULE_FILES).join(' or ')}; ${DEFAULT_VERSION} by default
  --seed N               of the random order
  --runtime NAME         cais (default) or containerd, which checks the suite itself
  --runtime-command CMD  another one: a command for /bin/sh that finds SOCKET, DIRECTORY, MIRRORS and CGROUP in its environment
  --list                 prints the names of the specs and runs nothing
  --log FILE             where the log of the runtime goes; without it the end is printed when a spec fails
  --keep                 leaves the directory of the last run, with the state of the runtime
`;

/**
 * @typedef {object} Arguments
 * @property {readonly string[]} focus
 * @property {readonly string[]} skip
 * @property {number} parallel
 * @property {boolean} websocket
 * @property {string | undefined} handler
 * @property {number} repeat
 * @property {number | undefined} seed
 * @property {string} criTools version
 * @property {string} runtime a name, or a command
 * @property {boolean} list
 * @property {string | undefined} log
 * @property {boolean} keep
 * @property {boolean} help
 */

/**
 * @param {readonly string[]} argv
 * @returns {Arguments}
 * @throws Error that says which option is wrong
 */
export function parseArguments(argv) {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      focus: { type: 'string', multiple: true, default: [] },
      skip: { type: 'string', multiple: true, default: [] },
      parallel: { type: 'string', default: '1' },
      websocket: { type: 'boolean', default: false },
      handler: { type: 'string' },
      repeat: { type: 'string', default: '1' },
      seed: { type: 'string' },
      'cri-tools': { type: 'string', default: DEFAULT_VERSION },
      runtime: { type: 'string', default: 'cais' },
      'runtime-command': { type: 'string' },
      list: { type: 'boolean', default: false },
      log: { type: 'string' },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (!['cais', 'containerd'].includes(values.runtime)) {
    throw new Error(`--runtime: expected cais or containerd, received "${values.runtime}"`);
  }
  if (!Object.hasOwn(MODULE_FILES, values['cri-tools'])) {
    const known = Object.keys(MODULE_FILES).join(' or ');
    throw new Error(`--cri-tools: expected ${known}, received "${values['cri-tools']}"`);
  }
  return {
    focus: values.focus,
    skip: values.skip,
    parallel: positive('--parallel', values.parallel),
    websocket: values.websocket,
    handler: values.handler,
    repeat: positive('--repeat', values.repeat),
    seed: values.seed === undefined ? undefined : positive('--seed', values.seed),
    criTools: values['cri-tools'],
    runtime: values['runtime-command'] ?? values.runtime,
    list: values.list,
    log: values.log,
    keep: values.keep,
    help: values.help,
  };
}

/** @param {string} option @param {string} text */
function positive(option, text) {
  if (!/^[1-9]\d{0,8}$/.test(text)) {
    throw new Error(`${option}: expected a number from 1, received "${text}"`);
  }
  return Number(text);
}
