import { constants } from 'node:os';
import { Signal } from './generated/api.js';

const PREFIX = 'SIGNAL_';

/** First and last real-time signal. */
const SIGRTMIN = 34;
const SIGRTMAX = 64;

/** Name that `parseSignal` knows; undefined for the runtime's default. */
export function toSignalName(signal: Signal): string | undefined {
  const name: string | undefined = Signal[signal];
  if (name === undefined || signal === Signal.SIGNAL_RUNTIME_DEFAULT) return undefined;
  // The old name of a signal that nobody else knows by it.
  if (signal === Signal.SIGNAL_SIGCLD) return 'SIGCHLD';
  return name.slice(PREFIX.length).replace('PLUS', '+').replace('MINUS', '-');
}

/** The signal of a kernel's number; the default for one that has no name. */
export function fromSignalNumber(number: number): Signal {
  const names: Readonly<Record<string, number>> = constants.signals;
  // Some numbers have two names; SIGABRT and SIGIO are the usual ones.
  const usual = { [constants.signals.SIGABRT]: 'SIGABRT', [constants.signals.SIGIO]: 'SIGIO' };
  const name =
    usual[number] ??
    Object.keys(names).find((each) => names[each] === number) ??
    realTimeName(number);
  const key = `${PREFIX}${name}`;
  return key in Signal ? Signal[key as keyof typeof Signal] : Signal.SIGNAL_RUNTIME_DEFAULT;
}

/** As the CRI counts them: up to 15 above the first one, then down to the last one. */
function realTimeName(number: number): string {
  if (number === SIGRTMIN) return 'SIGRTMIN';
  if (number === SIGRTMAX) return 'SIGRTMAX';
  const above = number - SIGRTMIN;
  return above <= 15 ? `SIGRTMINPLUS${above}` : `SIGRTMAXMINUS${SIGRTMAX - number}`;
}
