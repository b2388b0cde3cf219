/** How far apart the looks are. */
const TICK_MS = 1;

/** Milliseconds of CLOCK_MONOTONIC. */
const nowMs = () => Number(process.hrtime.bigint()) / 1e6;

/**
 * Measures how late a timer of this process is, again and again. Unlike `perf_hooks.monitorEventLoopDelay` it says when.
 * @returns {{ stop: () => { endMs: number, delayMs: number }[] }}
 */
export function watchEventLoop() {
  /** @type {{ endMs: number, delayMs: number }[]} */
  const delays = [];
  let lastMs = nowMs();
  const look = () => {
    const endMs = nowMs();
    delays.push({ endMs, delayMs: Math.max(0, endMs - lastMs - TICK_MS) });
    lastMs = endMs;
    timer.refresh();
  };
  const timer = setTimeout(look, TICK_MS);
  return {
    stop: () => {
      look();
      clearTimeout(timer);
      return delays;
    },
  };
}

/**
 * By nearest rank.
 * @param {readonly number[]} valuesMs at least one
 * @returns {{ p50Ms: number, p99Ms: number, p999Ms: number, maxMs: number }}
 */
export function percentiles(valuesMs) {
  const sorted = [...valuesMs].sort((a, b) => a - b);
  const at = (/** @type {number} */ part) => {
    const value = sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)];
    if (value === undefined) throw new Error('No percentiles of nothing');
    return value;
  };
  return { p50Ms: at(0.5), p99Ms: at(0.99), p999Ms: at(0.999), maxMs: at(1) };
}
