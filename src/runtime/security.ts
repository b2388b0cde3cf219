import type { ContainerSecurity } from './container-config.js';

/** Paths that say too much about the host, or let it be changed, hidden in every container that is not privileged. */
const MASKED_PATHS: readonly string[] = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];

const READONLY_PATHS: readonly string[] = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
];

/** Masked and read-only paths of a container; none when privileged, the caller's own lists where given. */
export function protectedPaths(security: ContainerSecurity): {
  readonly masked: readonly string[];
  readonly readonly: readonly string[];
} {
  if (security.privileged) return { masked: [], readonly: [] };
  return {
    masked: security.maskedPaths ?? MASKED_PATHS,
    readonly: security.readonlyPaths ?? READONLY_PATHS,
  };
}

/** Whether system calls are filtered: privileged containers and those that ask for it are not. */
export function usesSeccomp(security: ContainerSecurity): boolean {
  return !security.privileged && security.seccomp !== 'unconfined';
}
