import { InvalidArgumentError } from '../errors.js';
import type { DnsConfig } from '../runtime/sandbox-config.js';

/**
 * Content of /etc/resolv.conf: what the pod asks for, else the node's own file.
 * @throws InvalidArgumentError for a value that would add lines or words of its own.
 */
export function resolvConf(dns: DnsConfig | undefined, nodeFile: string): string {
  if (dns === undefined) return nodeFile;
  for (const value of [...dns.servers, ...dns.searches, ...(dns.options ?? [])]) {
    if (!/^[!-~]+$/.test(value)) {
      throw new InvalidArgumentError(
        `Invalid DNS setting ${JSON.stringify(value.slice(0, 100))}: expected printable characters without spaces`,
      );
    }
  }
  const lines = [
    ...(dns.searches.length > 0 ? [`search ${dns.searches.join(' ')}`] : []),
    ...dns.servers.map((server) => `nameserver ${server}`),
    ...((dns.options ?? []).length > 0 ? [`options ${(dns.options ?? []).join(' ')}`] : []),
  ];
  return lines.map((line) => `${line}\n`).join('');
}
