import { isIP } from 'node:net';
import { InvalidArgumentError } from '../errors.js';
import type { HostAlias } from '../runtime/sandbox-config.js';

export interface HostsFileOptions {
  readonly hostname: string;
  readonly ip: string | undefined;
  readonly hostAliases: readonly HostAlias[];
  /** Content of the node's own file, for pods in the host's network; absent: the pod has its own. */
  readonly nodeFile?: string;
}

const LOCAL_LINES = [
  '127.0.0.1\tlocalhost',
  '::1\tlocalhost ip6-localhost ip6-loopback',
  'fe00::0\tip6-localnet',
  'fe00::0\tip6-mcastprefix',
  'fe00::1\tip6-allnodes',
  'fe00::2\tip6-allrouters',
];

/**
 * Content of a container's /etc/hosts, as the kubelet writes it.
 * @throws InvalidArgumentError for an alias that would add lines of its own.
 */
export function hostsFile(options: HostsFileOptions): string {
  const { hostname, ip, hostAliases, nodeFile } = options;
  const head =
    nodeFile === undefined
      ? ['# Kubernetes-managed hosts file.', ...LOCAL_LINES]
      : ['# Kubernetes-managed hosts file (host network).', nodeFile.replace(/\n$/, '')];
  const own = nodeFile === undefined && ip !== undefined ? [`${ip}\t${hostname}`] : [];
  const aliases = hostAliases.map((alias) => {
    if (isIP(alias.ip) === 0 || !alias.hostnames.every((name) => /^[A-Za-z0-9_.-]+$/.test(name))) {
      throw new InvalidArgumentError(
        `Invalid host alias ${JSON.stringify(alias).slice(0, 200)}: expected an IP address and host names`,
      );
    }
    return [alias.ip, ...alias.hostnames].join('\t');
  });
  const block = aliases.length > 0 ? ['', '# Entries added by HostAliases.', ...aliases] : [];
  return [...head, ...own, ...block].map((line) => `${line}\n`).join('');
}
