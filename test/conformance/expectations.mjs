/** @typedef {import('./critest.mjs').Spec} Spec */

/**
 * A spec with our judgement: one that skips itself although the runtime should have the feature has failed.
 * @typedef {object} Verdict
 * @property {string} name
 * @property {'passed' | 'failed' | 'skipped'} state
 * @property {string} reason of a failure or a skip
 * @property {Spec} spec
 */

/** What cannot run here, whatever the runtime does, and why. These names are skipped before they run. */
const IMPOSSIBLE = [
  {
    pattern: 'public image with digest',
    reason:
      'asks for one image of a public registry by its digest, which no image made here can have',
  },
  { pattern: 'benchmark', reason: 'measures, and checks nothing; critest runs it with -benchmark' },
];

/** What skips itself where the kernel has not got it, or where critest is not told of a socket. */
const DEPENDS_ON_MACHINE = [/^\[k8s\.io\] AppArmor /, /^\[k8s\.io\] SELinux /, /^\[k8s\.io\] NRI /];

/** Features that an OCI runtime need not have; the Status of the runtime says which handler has them. */
const DEPENDS_ON_HANDLER = [/UserNamespaces/, /recursive readonly/];

/** Regular expressions for `--ginkgo.skip`. */
export const SKIPPED_PATTERNS = IMPOSSIBLE.map(({ pattern }) => pattern);

/**
 * @param {Spec} spec
 * @param {object} options
 * @param {boolean} options.isPeer another runtime than cais, which has what it has
 * @param {string | undefined} options.handler
 * @returns {Verdict}
 */
export function judge(spec, { isPeer, handler }) {
  const { name, state, message } = spec;
  if (state === 'passed') return { name, state, reason: '', spec };
  if (state === 'failed') return { name, state, reason: message, spec };
  const impossible = IMPOSSIBLE.find(({ pattern }) => name.includes(pattern));
  if (impossible) return { name, state, reason: impossible.reason, spec };
  if (message === '') return { name, state, reason: 'not chosen for this run', spec };
  const mayDepend = [...DEPENDS_ON_MACHINE, ...(handler === undefined ? [] : DEPENDS_ON_HANDLER)];
  return isPeer || mayDepend.some((pattern) => pattern.test(name))
    ? { name, state, reason: message, spec }
    : { name, state: 'failed', reason: `Skips itself: ${message}`, spec };
}
