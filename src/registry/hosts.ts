import { isIPv4, isIPv6 } from 'node:net';
import type { ConnectionSettings } from './connection-settings.js';
import type { HostCapabilities } from './hosts-file.js';

/** Where the API of a registry is. */
export interface RegistryHost {
  /** The name in references, `docker.io`. */
  readonly domain: string;
  /** `https://registry-1.docker.io`, without a path. */
  readonly origin: string;
  /** For errors: `registry-1.docker.io`. */
  readonly host: string;
}

/** One host that serves a registry: the registry itself, what stands in for it, or a mirror. */
export interface RegistryEndpoint extends RegistryHost {
  /** Path before the name of a repository: `/v2`, or what the configuration puts in its place, without a slash at the end. */
  readonly apiPath: string;
  /** Another host than the registry: told by `ns` whose images it is asked for, and never given the registry's credentials. */
  readonly isMirror: boolean;
  readonly capabilities: HostCapabilities;
  /** For this host and no other. */
  readonly headers: Readonly<Record<string, string>>;
  /** Undefined: connected to like all others. */
  readonly connection: ConnectionSettings | undefined;
}

const DOCKER_HUB_API = 'registry-1.docker.io';
/** Names of Docker Hub: one registry, so also one as far as credentials go. */
const DOCKER_HUB_NAMES = ['docker.io', 'index.docker.io', DOCKER_HUB_API];

/**
 * Finds the API endpoint of a registry: HTTPS, but plain HTTP for loopback hosts and for those configured so.
 * A TLS failure never falls back to plain HTTP.
 * @param insecureRegistries `host` or `host:port`; without a port every port of the host is meant.
 */
export function registryHost(domain: string, insecureRegistries: readonly string[]): RegistryHost {
  const host = domain === 'docker.io' ? DOCKER_HUB_API : domain;
  const isPlain = isLoopbackHost(hostnameOf(host)) || isListed(host, insecureRegistries);
  return { domain, host, origin: `${isPlain ? 'http' : 'https'}://${host}` };
}

/** The host as it is connected to: tells whether two names are one registry. */
export function apiHost(host: string): string {
  return DOCKER_HUB_NAMES.includes(host) ? DOCKER_HUB_API : host.toLowerCase();
}

/** The name of a host in references and among credentials. */
export function registryName(host: string): string {
  return DOCKER_HUB_NAMES.includes(host) ? 'docker.io' : host;
}

/** Whether plain HTTP to this URL is acceptable: loopback, or a host configured so. */
export function allowsPlainHttp(url: URL, insecureRegistries: readonly string[]): boolean {
  return isLoopbackHost(url.hostname) || isListed(url.host, insecureRegistries);
}

/** `localhost` and the loopback addresses. Other names never count, whatever they resolve to. */
export function isLoopbackHost(hostname: string): boolean {
  const bare = hostname.replace(/^\[|\]$/g, '').toLowerCase();
  if (bare === 'localhost') return true;
  if (isIPv4(bare)) return bare.startsWith('127.');
  return isIPv6(bare) && new URL(`http://[${bare}]`).hostname === '[::1]';
}

/** Addresses that reach services of this machine or of its cloud provider; a registry elsewhere has no business there. */
export function isLocalOnlyHost(hostname: string): boolean {
  const bare = hostname.replace(/^\[|\]$/g, '').toLowerCase();
  return (
    isLoopbackHost(hostname) ||
    (isIPv4(bare) && (bare.startsWith('169.254.') || bare.startsWith('0.'))) ||
    (isIPv6(bare) && /^(?:fe[89ab]|::(?:ffff:)?(?:7f|a9fe|0?$))/.test(bare))
  );
}

function isListed(host: string, insecureRegistries: readonly string[]): boolean {
  return insecureRegistries.includes(host) || insecureRegistries.includes(hostnameOf(host));
}

function hostnameOf(host: string): string {
  return host.replace(/:[0-9]+$/, '');
}
