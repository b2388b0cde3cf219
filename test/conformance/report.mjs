/** @typedef {import('./expectations.mjs').Verdict} Verdict */

/** What a failed spec wrote is cut to this; the cause stands at its end. */
const OUTPUT_MAX_CHARS = 3000;

/**
 * The text of one run: failures with what they wrote, skips with their reasons, a line of totals.
 * @param {readonly Verdict[]} verdicts
 * @param {number} seconds
 */
export function describeRun(verdicts, seconds) {
  const of = (/** @type {Verdict['state']} */ state) =>
    verdicts.filter((verdict) => verdict.state === state);
  const failed = of('failed');
  /** @type {Map<string, string[]>} */
  const skipped = new Map();
  for (const { name, reason } of of('skipped')) {
    skipped.set(reason, [...(skipped.get(reason) ?? []), name]);
  }
  return [
    ...failed.flatMap(({ name, reason, spec }) => [
      `FAILED ${name}`,
      indent(`${reason}${spec.location === '' ? '' : `\nat ${spec.location}`}`, '    '),
      ...(spec.output === '' ? [] : [indent(spec.output.slice(-OUTPUT_MAX_CHARS), '  | ')]),
      '',
    ]),
    ...[...skipped].flatMap(([reason, names]) => [
      `Skipped (${names.length}): ${reason}`,
      ...names.map((name) => `    ${name}`),
    ]),
    ...(failed.length > 0 ? ['', 'Failed:', ...failed.map(({ name }) => `    ${name}`)] : []),
    '',
    `${of('passed').length} passed, ${failed.length} failed, ${of('skipped').length} skipped in ${seconds.toFixed(1)} s`,
  ].join('\n');
}

/** @param {string} text @param {string} prefix */
function indent(text, prefix) {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => prefix + line)
    .join('\n');
}
