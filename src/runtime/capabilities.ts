import { readFileSync } from 'node:fs';
import { InvalidArgumentError } from '../errors.js';
import type { SpecCapabilities } from './oci-spec.js';

/** Names by number, as in <linux/capability.h>. */
const CAPABILITIES = [
  'CHOWN',
  'DAC_OVERRIDE',
  'DAC_READ_SEARCH',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'LINUX_IMMUTABLE',
  'NET_BIND_SERVICE',
  'NET_BROADCAST',
  'NET_ADMIN',
  'NET_RAW',
  'IPC_LOCK',
  'IPC_OWNER',
  'SYS_MODULE',
  'SYS_RAWIO',
  'SYS_CHROOT',
  'SYS_PTRACE',
  'SYS_PACCT',
  'SYS_ADMIN',
  'SYS_BOOT',
  'SYS_NICE',
  'SYS_RESOURCE',
  'SYS_TIME',
  'SYS_TTY_CONFIG',
  'MKNOD',
  'LEASE',
  'AUDIT_WRITE',
  'AUDIT_CONTROL',
  'SETFCAP',
  'MAC_OVERRIDE',
  'MAC_ADMIN',
  'SYSLOG',
  'WAKE_ALARM',
  'BLOCK_SUSPEND',
  'AUDIT_READ',
  'PERFMON',
  'BPF',
  'CHECKPOINT_RESTORE',
] as const;

const DEFAULT_CAPABILITIES: readonly string[] = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FSETID',
  'FOWNER',
  'MKNOD',
  'NET_RAW',
  'SETGID',
  'SETUID',
  'SETFCAP',
  'SETPCAP',
  'NET_BIND_SERVICE',
  'SYS_CHROOT',
  'KILL',
  'AUDIT_WRITE',
];

export interface CapabilityRequest {
  readonly privileged: boolean;
  readonly add: readonly string[];
  readonly drop: readonly string[];
  /** What this process may hand on; others are left out silently, as no container here can have them. */
  readonly hostMask: bigint;
}

/**
 * Capability sets of a container: the default ones (all when privileged), then `drop`, then `add`, where `ALL` in `drop` empties the set before `add` fills it.
 * Inheritable and ambient are empty: a non-empty inheritable set lets file capabilities come back (CVE-2022-29162, CVE-2022-24769).
 * @throws InvalidArgumentError for an unknown name.
 */
export function capabilitySets(request: CapabilityRequest): SpecCapabilities {
  const add = request.add.map(normalize);
  const drop = request.drop.map(normalize);
  const names = new Set<string>(
    request.privileged || add.includes('ALL') ? CAPABILITIES : DEFAULT_CAPABILITIES,
  );
  if (drop.includes('ALL')) names.clear();
  for (const name of drop) names.delete(name);
  for (const name of add) if (name !== 'ALL') names.add(name);
  if (add.includes('ALL') && drop.includes('ALL')) for (const name of CAPABILITIES) names.add(name);
  const kept = CAPABILITIES.filter(
    (name, bit) => names.has(name) && (request.hostMask & (1n << BigInt(bit))) !== 0n,
  ).map((name) => `CAP_${name}`);
  return { bounding: kept, effective: kept, permitted: kept, inheritable: [], ambient: [] };
}

/** Bit mask of capability names, as the kernel numbers them. */
export function capabilityMask(names: readonly string[]): bigint {
  return names.reduce((mask, name) => {
    const bit = CAPABILITIES.indexOf(normalize(name) as (typeof CAPABILITIES)[number]);
    return bit < 0 ? mask : mask | (1n << BigInt(bit));
  }, 0n);
}

/** The bounding set of this process: what a container started from here can have at most. */
export function hostCapabilities(statusPath = '/proc/self/status'): bigint {
  const line = /^CapBnd:\s*([0-9a-f]+)$/m.exec(readFileSync(statusPath, 'latin1'));
  return line?.[1] === undefined ? 0n : BigInt(`0x${line[1]}`);
}

function normalize(name: string): string {
  const upper = name.toUpperCase().replace(/^CAP_/, '');
  if (upper !== 'ALL' && !(CAPABILITIES as readonly string[]).includes(upper)) {
    throw new InvalidArgumentError(
      `Unknown capability ${JSON.stringify(name.slice(0, 60))}: expected a name such as "NET_ADMIN", or "ALL"`,
    );
  }
  return upper;
}
