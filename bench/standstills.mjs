import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { buildLimitProgram } from './limit/build.mjs';

/**
 * A stretch of time in milliseconds of CLOCK_MONOTONIC, which is that of `process.hrtime` too.
 * @typedef {readonly [fromMs: number, toMs: number]} Stretch
 */

/**
 * Watches from another process, by threads of a priority above all ordinary programs, when the machine as a whole stood still. A signal to the benchmark
 * ends it, since its input then ends.
 * @param {readonly [string, ...string[]]} [command]
 * @returns {{ stop: () => Promise<Stretch[] | undefined> }} `stop` gives the stretches; undefined where no such priority is given, which standard error says
 */
export function watchStandstills([program, ...args] = [buildLimitProgram(), 'standstills']) {
  const child = spawn(program, args, {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  // Writing to a process that has ended is noticed by its status.
  child.stdin.on('error', () => {});
  const closed = once(child, 'close');
  return {
    stop: async () => {
      child.stdin.end();
      const [code] = await closed;
      return code === 0 ? commonStretches(JSON.parse(output).processors) : undefined;
    },
  };
}

/**
 * When all of them were late at once.
 * @param {readonly (readonly Stretch[])[]} lists each in the order of time
 * @returns {Stretch[]}
 */
export function commonStretches(lists) {
  const [first = [], ...others] = lists;
  return others
    .reduce(
      (/** @type {readonly Stretch[]} */ common, list) =>
        common.flatMap((one) => list.map((other) => overlap(one, other)).filter(isSome)),
      first,
    )
    .map(([from, to]) => /** @type {const} */ ([from, to]));
}

/**
 * What of each delay is left without the time in which nothing ran on the machine.
 * @param {readonly { readonly endMs: number, readonly delayMs: number }[]} delays
 * @param {readonly Stretch[]} standstills apart from each other
 * @returns {number[]} milliseconds
 */
export function withoutStandstills(delays, standstills) {
  return delays.map(({ endMs, delayMs }) =>
    standstills
      .map((stretch) => overlap([endMs - delayMs, endMs], stretch))
      .filter(isSome)
      .reduce((left, [from, to]) => left - (to - from), delayMs),
  );
}

/** @param {Stretch} a @param {Stretch} b @returns {Stretch} empty or negative where they do not meet */
function overlap([aFrom, aTo], [bFrom, bTo]) {
  return [Math.max(aFrom, bFrom), Math.min(aTo, bTo)];
}

/** @param {Stretch} stretch */
function isSome([from, to]) {
  return from < to;
}
