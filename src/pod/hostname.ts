const MAX_LENGTH = 63;

/**
 * Host name of a pod: `spec.hostname`, else its name, cut to 63 characters without a trailing `-` or `.`.
 * @see contracts/kubernetes-semantics.md F1, F2
 */
export function podHostname(name: string, hostname: string | undefined): string {
  const base = hostname ?? name;
  return base.length <= MAX_LENGTH ? base : base.slice(0, MAX_LENGTH).replace(/[-.]+$/, '');
}
