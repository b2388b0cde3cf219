import { constants } from 'node:os';
import { InvalidArgumentError } from '../errors.js';

/** First and last real-time signal as glibc and musl number them for programs. */
const SIGRTMIN = 34;
const SIGRTMAX = 64;

/**
 * Number of a signal written as `SIGTERM`, `term`, `15`, `SIGRTMIN+3` or `RTMAX-1`.
 * @throws InvalidArgumentError when there is no such signal.
 */
export function parseSignal(text: string): number {
  const name = text.toUpperCase().replace(/^SIG/, '');
  const numbers: Readonly<Record<string, number>> = constants.signals;
  let signal: number | undefined;
  if (/^[0-9]{1,2}$/.test(name)) signal = Number(name);
  else if (Object.hasOwn(numbers, `SIG${name}`)) signal = numbers[`SIG${name}`];
  else {
    const realTime = /^RT(MIN|MAX)(?:([+-])([0-9]{1,2}))?$/.exec(name);
    if (realTime !== null) {
      const offset = Number(realTime[3] ?? 0) * (realTime[2] === '-' ? -1 : 1);
      const number = (realTime[1] === 'MIN' ? SIGRTMIN : SIGRTMAX) + offset;
      if (number >= SIGRTMIN) signal = number;
    }
  }
  if (signal === undefined || signal < 1 || signal > SIGRTMAX) {
    throw new InvalidArgumentError(
      `Unknown signal ${JSON.stringify(text.slice(0, 40))}: expected a name such as "SIGTERM" or a number from 1 to 64`,
    );
  }
  return signal;
}
