import { randomBytes } from 'node:crypto';
import { parseReference } from '../reference.js';
import type { ContainerSpec, ImagePullPolicy } from './container-schema.js';
import type { PodManifest, PodManifestSpec } from './pod-schema.js';

/** A container with everything filled in that Kubernetes fills in. */
export interface PodContainer extends ContainerSpec {
  readonly imagePullPolicy: ImagePullPolicy;
}

/** A validated Pod with defaults filled in: what the rest of cais works with. */
export interface Pod {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations: Readonly<Record<string, string>>;
  };
  readonly spec: Omit<PodManifestSpec, 'containers' | 'initContainers'> & {
    readonly containers: readonly PodContainer[];
    readonly initContainers: readonly PodContainer[];
    readonly restartPolicy: RestartPolicy;
    readonly terminationGracePeriodSeconds: number;
  };
}

export type RestartPolicy = 'Always' | 'OnFailure' | 'Never';

export interface PodDefaults {
  /**
   * For a Pod that does not say. Kubernetes takes `Always`, which never ends; a program that runs a pod to its end wants `Never`.
   */
  readonly restartPolicy: RestartPolicy;
}

const DEFAULT_NAMESPACE = 'default';
const DEFAULT_GRACE_SECONDS = 30;
/** Letters of generated names; no vowels, so that no word comes out. */
const SUFFIX_ALPHABET = 'bcdfghjklmnpqrstvwxz2456789';
const SUFFIX_LENGTH = 5;
const GENERATED_BASE_MAX = 58;

/** Fills in what the manifest leaves out, once, when the pod is made. */
export function applyPodDefaults(manifest: PodManifest, defaults: PodDefaults): Pod {
  const { metadata, spec } = manifest;
  return {
    metadata: {
      name: metadata.name || generateName(metadata.generateName ?? ''),
      namespace: metadata.namespace || DEFAULT_NAMESPACE,
      labels: metadata.labels ?? {},
      annotations: metadata.annotations ?? {},
    },
    spec: {
      ...spec,
      containers: spec.containers.map(applyContainerDefaults),
      initContainers: (spec.initContainers ?? []).map(applyContainerDefaults),
      restartPolicy: spec.restartPolicy ?? defaults.restartPolicy,
      terminationGracePeriodSeconds: spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE_SECONDS,
    },
  };
}

/**
 * The policy of a container that names none: `Always` when the tag is `latest`, written or implied, else `IfNotPresent`.
 * @see contracts/kubernetes-semantics.md B1 to B5
 */
export function defaultPullPolicy(image: string): ImagePullPolicy {
  try {
    const { tag, digest } = parseReference(image);
    const effective = tag ?? (digest === undefined ? 'latest' : undefined);
    return effective === 'latest' ? 'Always' : 'IfNotPresent';
  } catch {
    // Not a reference: the pull will say so; the policy does not matter.
    return 'IfNotPresent';
  }
}

function applyContainerDefaults(container: ContainerSpec): PodContainer {
  const { limits, requests } = container.resources ?? {};
  const resources = { ...container.resources, requests: { ...limits, ...requests } };
  return {
    ...container,
    imagePullPolicy: container.imagePullPolicy || defaultPullPolicy(container.image),
    ...(limits === undefined && requests === undefined ? {} : { resources }),
  };
}

function generateName(base: string): string {
  const suffix = [...randomBytes(SUFFIX_LENGTH)]
    .map((byte) => SUFFIX_ALPHABET[byte % SUFFIX_ALPHABET.length])
    .join('');
  return base.slice(0, GENERATED_BASE_MAX) + suffix;
}
