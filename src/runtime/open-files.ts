import type { NativeBinding } from '../native.js';

export interface OpenFilesLimit {
  readonly soft: number;
  readonly hard: number;
}

/**
 * The open-files limit that our caller had: node raises its own soft limit to the hard one at start, and a container must not inherit that
 * (programs that close every possible descriptor take minutes then). `bin/cais` hands the caller's soft limit over in CAIS_NOFILE_SOFT;
 * a program that embeds the engine was started by a process that still has it.
 */
export function callerOpenFilesLimit(
  native: Pick<NativeBinding, 'openFilesLimit'>,
  environment: Readonly<Record<string, string | undefined>>,
): OpenFilesLimit {
  const own = native.openFilesLimit(process.pid);
  const handedOver = environment['CAIS_NOFILE_SOFT'] ?? '';
  if (/^[1-9][0-9]{0,15}$/.test(handedOver)) {
    return { soft: Math.min(Number(handedOver), own.hard), hard: own.hard };
  }
  try {
    return { soft: Math.min(native.openFilesLimit(process.ppid).soft, own.hard), hard: own.hard };
  } catch {
    // The parent is gone or in another user's hands: the value that Linux and systemd give to every process.
    return { soft: Math.min(1024, own.hard), hard: own.hard };
  }
}
