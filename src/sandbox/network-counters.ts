import { readFileSync } from 'node:fs';

/** What went through one interface since it was made. */
export interface InterfaceCounters {
  readonly name: string;
  readonly rxBytes: number;
  readonly rxPackets: number;
  readonly rxErrors: number;
  readonly rxDropped: number;
  readonly txBytes: number;
  readonly txPackets: number;
  readonly txErrors: number;
  readonly txDropped: number;
}

/**
 * Counters of the interfaces in the network namespace of a process, without its loopback; nothing when the process is gone. The kernel shows
 * /proc/PID/net as that namespace sees it, so that no thread has to enter it.
 */
export function readInterfaceCounters(pid: number): InterfaceCounters[] {
  try {
    return parseInterfaceCounters(readFileSync(`/proc/${pid}/net/dev`, 'latin1'));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EINVAL') return [];
    throw error;
  }
}

/**
 * Takes /proc/net/dev apart: two lines of head, then `name: ` and sixteen numbers for each interface. A line of any other form is left out.
 * @see proc_net_dev(5)
 */
export function parseInterfaceCounters(text: string): InterfaceCounters[] {
  return text
    .split('\n')
    .slice(2)
    .flatMap((line) => {
      // A name may hold a colon itself; the numbers do not.
      const colon = line.lastIndexOf(':');
      const name = line.slice(0, colon).trim();
      const numbers = line
        .slice(colon + 1)
        .trim()
        .split(/\s+/)
        .map(Number);
      if (colon < 1 || name === 'lo' || numbers.length < 16) return [];
      if (!numbers.every((value) => Number.isFinite(value) && value >= 0)) return [];
      const at = (index: number) => numbers[index] ?? 0;
      return [
        {
          name,
          rxBytes: at(0),
          rxPackets: at(1),
          rxErrors: at(2),
          rxDropped: at(3),
          txBytes: at(8),
          txPackets: at(9),
          txErrors: at(10),
          txDropped: at(11),
        },
      ];
    });
}
