import { parseArgs } from 'node:util';
import { COMPRESSIONS, WORKLOAD_NAMES } from './workloads.mjs';

/** @import { Compression, QuestionName, WorkloadName } from './contract.js' */

/** @type {readonly QuestionName[]} */
const QUESTIONS = ['extract', 'pull'];
/** @type {readonly WorkloadName[]} */
const QUICK_WORKLOADS = ['debian', 'app'];
const ROUNDS = 5;
const QUICK_ROUNDS = 3;

export const USAGE = `Usage: npm run bench -- [extract|pull]… [options]

Questions (all of them when none is named):
  extract   from the blobs of an image on disk to a root file system
  pull      from a registry on loopback to a root file system

Options:
  --quick              ${QUICK_ROUNDS} rounds instead of ${ROUNDS}, of the workloads ${QUICK_WORKLOADS.join(' and ')}; what takes long runs once
  --rounds N           that many rounds
  --workloads A,B      of ${WORKLOAD_NAMES.join(', ')}
  --compressions A,B   of ${COMPRESSIONS.join(', ')}
  --peers A,B          only these beside cais: products, such as containerd, podman, umoci, tar, javascript, or contestants by name, such as
                       containerd-2.1-erofs
  --install-peers      install missing peers from Debian packages, and make a chroot with newer ones in the cache
  --peer-root DIR      a chroot of yours with newer peers, instead of the one in the cache
  --json FILE          write the results into FILE and leave the pages in bench/results as they are
`;

/** A command line that nobody can follow; the message says why. */
export class UsageError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = 'UsageError';
  }
}

/**
 * What a run of the benchmark is asked to do.
 * @typedef {object} BenchOptions
 * @property {readonly QuestionName[]} questions
 * @property {readonly WorkloadName[]} workloads
 * @property {readonly Compression[]} compressions
 * @property {number} rounds
 * @property {boolean} isQuick
 * @property {readonly string[] | undefined} peers products; undefined for all
 * @property {boolean} install
 * @property {string | undefined} peerRoot
 * @property {string | undefined} jsonPath
 * @property {boolean} help
 */

/**
 * @param {readonly string[]} args
 * @returns {BenchOptions}
 * @throws UsageError
 */
export function parseArguments(args) {
  const { values, positionals } = parse(args);
  const isQuick = values.quick ?? false;
  return {
    questions: oneOf('question', positionals.length > 0 ? positionals : QUESTIONS, QUESTIONS),
    workloads: oneOf(
      'workload',
      split(values.workloads) ?? (isQuick ? QUICK_WORKLOADS : WORKLOAD_NAMES),
      WORKLOAD_NAMES,
    ),
    compressions: oneOf('compression', split(values.compressions) ?? COMPRESSIONS, COMPRESSIONS),
    rounds: parseRounds(values.rounds) ?? (isQuick ? QUICK_ROUNDS : ROUNDS),
    isQuick,
    peers: split(values.peers),
    install: values['install-peers'] ?? false,
    peerRoot: values['peer-root'],
    jsonPath: values.json,
    help: values.help ?? false,
  };
}

/** @param {readonly string[]} args */
function parse(args) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        quick: { type: 'boolean' },
        rounds: { type: 'string' },
        workloads: { type: 'string' },
        compressions: { type: 'string' },
        peers: { type: 'string' },
        'install-peers': { type: 'boolean' },
        'peer-root': { type: 'string' },
        json: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** @param {string | undefined} list */
function split(list) {
  const names = list?.split(',').filter((name) => name !== '');
  if (names?.length === 0) throw new UsageError('A list of names is empty');
  return names;
}

/**
 * @template {string} T
 * @param {string} what
 * @param {readonly string[]} names
 * @param {readonly T[]} known
 * @returns {T[]} in the order of `known`, each once
 */
function oneOf(what, names, known) {
  const unknown = names.find((name) => !known.some((other) => other === name));
  if (unknown !== undefined) {
    throw new UsageError(`Unknown ${what} "${unknown}": expected ${known.join(', ')}`);
  }
  return known.filter((name) => names.includes(name));
}

/** @param {string | undefined} text */
function parseRounds(text) {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d{0,2}$/.test(text)) {
    throw new UsageError(`Expected a number of rounds for --rounds and received "${text}"`);
  }
  return Number(text);
}
