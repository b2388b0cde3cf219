import type { PodManifestSpec } from '../objects/pod-schema.js';
import type { DnsConfig } from '../runtime/sandbox-config.js';

const MAX_SERVERS = 3;
const MAX_SEARCHES = 32;
const MAX_SEARCH_CHARACTERS = 2048;

/** What /etc/resolv.conf says, as far as it is passed on. */
export function parseResolvConf(text: string): Required<DnsConfig> {
  const servers: string[] = [];
  let searches: string[] = [];
  let options: string[] = [];
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line.trim().split(/\s+/);
    if (keyword === 'nameserver' && values[0] !== undefined) servers.push(values[0]);
    // The last line of a kind wins, as in the resolver.
    else if (keyword === 'search') searches = values;
    else if (keyword === 'options') options = values;
  }
  return { servers, searches, options };
}

/**
 * Resolver settings of a pod. There is no cluster DNS here, so `ClusterFirst` behaves as `Default`, as on a node without one.
 * @param nodeResolvConf text of the node's file.
 * @see contracts/kubernetes-semantics.md F12 to F15
 */
export function podDns(
  spec: Pick<PodManifestSpec, 'dnsPolicy' | 'dnsConfig'>,
  nodeResolvConf: string,
): DnsConfig {
  const base: Required<DnsConfig> =
    spec.dnsPolicy === 'None'
      ? { servers: [], searches: [], options: [] }
      : parseResolvConf(nodeResolvConf);
  const added = spec.dnsConfig ?? {};
  const options = new Map(base.options.map((option) => [option.split(':')[0] ?? option, option]));
  for (const { name, value } of added.options ?? []) {
    options.set(name, value === undefined ? name : `${name}:${value}`);
  }
  const searches: string[] = [];
  let characters = 0;
  for (const search of new Set([...base.searches, ...(added.searches ?? [])])) {
    characters += search.length + (searches.length === 0 ? 0 : 1);
    if (searches.length === MAX_SEARCHES || characters > MAX_SEARCH_CHARACTERS) break;
    searches.push(search);
  }
  return {
    servers: [...new Set([...base.servers, ...(added.nameservers ?? [])])].slice(0, MAX_SERVERS),
    searches,
    options: [...options.values()],
  };
}
