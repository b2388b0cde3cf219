import type { EnvironmentVariable } from '../objects/container-schema.js';
import type { Pod, PodContainer } from '../objects/defaults.js';
import { divideQuantity, parseQuantity, type Quantity } from '../objects/quantity.js';
import { expandVariables } from './expansion.js';

/** What a pod learns of itself and its node when its containers are made. */
export interface PodFacts {
  readonly uid: string;
  readonly podIps: readonly string[];
  readonly hostIps: readonly string[];
  readonly nodeName: string;
  /** What a missing limit stands for. */
  readonly nodeCpus: number;
  readonly nodeMemoryBytes: number;
}

export interface ContainerEnvironment {
  readonly env: readonly (readonly [name: string, value: string])[];
  readonly command: readonly string[];
  readonly args: readonly string[];
}

const SERVICE_ACCOUNT = 'default';

/**
 * The variables, command and arguments of one container. An entry of `env` sees the ones above it; command and arguments see all;
 * neither sees the image's. A later entry of the same name wins.
 * @see contracts/kubernetes-semantics.md F16 to F26, F34 to F39
 */
export function containerEnvironment(
  container: PodContainer,
  { pod, facts }: { pod: Pod; facts: PodFacts },
): ContainerEnvironment {
  const known = new Map<string, string>();
  for (const variable of container.env ?? []) {
    const value =
      variable.valueFrom === undefined
        ? expandVariables(variable.value ?? '', (name) => known.get(name))
        : resolveSource(variable.valueFrom, { container, pod, facts });
    known.delete(variable.name);
    known.set(variable.name, value);
  }
  const expand = (text: string) => expandVariables(text, (name) => known.get(name));
  return {
    env: [...known],
    command: (container.command ?? []).map(expand),
    args: (container.args ?? []).map(expand),
  };
}

interface Scope {
  readonly container: PodContainer;
  readonly pod: Pod;
  readonly facts: PodFacts;
}

function resolveSource(
  source: NonNullable<EnvironmentVariable['valueFrom']>,
  scope: Scope,
): string {
  if (source.fieldRef !== undefined) return resolveField(source.fieldRef.fieldPath, scope);
  const reference = source.resourceFieldRef;
  if (reference === undefined) return '';
  const all = [...scope.pod.spec.initContainers, ...scope.pod.spec.containers];
  const of = reference.containerName
    ? (all.find(({ name }) => name === reference.containerName) ?? scope.container)
    : scope.container;
  const amount = resolveAmount(reference.resource, { ...scope, container: of });
  const divisor = parseQuantity(reference.divisor ?? '1');
  return String(divideQuantity(amount, divisor.nanos === 0n ? parseQuantity('1') : divisor));
}

function resolveAmount(resource: string, { container, facts }: Scope): Quantity {
  const [kind, name] = resource.split('.') as ['limits' | 'requests', 'cpu' | 'memory'];
  const declared = container.resources?.[kind]?.[name];
  if (declared !== undefined && parseQuantity(declared).nanos > 0n) return parseQuantity(declared);
  if (kind === 'requests') return parseQuantity('0');
  return parseQuantity(name === 'cpu' ? facts.nodeCpus : facts.nodeMemoryBytes);
}

function resolveField(path: string, { pod, facts }: Scope): string {
  const subscript = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(path);
  if (subscript !== null) {
    const [, map, key] = subscript as unknown as [string, 'labels' | 'annotations', string];
    // Own properties only: a label named "constructor" that is absent must not find Object's.
    return Object.hasOwn(pod.metadata[map], key) ? (pod.metadata[map][key] ?? '') : '';
  }
  switch (path) {
    case 'metadata.name':
      return pod.metadata.name;
    case 'metadata.namespace':
      return pod.metadata.namespace;
    case 'metadata.uid':
      return facts.uid;
    case 'spec.nodeName':
      return facts.nodeName;
    case 'spec.serviceAccountName':
      return SERVICE_ACCOUNT;
    case 'status.hostIP':
      return facts.hostIps[0] ?? '';
    case 'status.hostIPs':
      return facts.hostIps.join(',');
    case 'status.podIP':
      return facts.podIps[0] ?? '';
    default:
      return facts.podIps.join(',');
  }
}
