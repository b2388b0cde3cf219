import { isIP } from 'node:net';
import * as v from 'valibot';
import { container, seccompProfile } from './container-schema.js';
import {
  checkedString,
  integerBetween,
  notSupported,
  numericId,
  oneOf,
  oneOfSoFar,
  text,
} from './fields.js';
import {
  labelProblem,
  labelValueProblem,
  qualifiedNameProblem,
  subdomainProblem,
} from './names.js';

const MAX_ANNOTATION_BYTES = 256 * 1024;

const ipAddress = checkedString((value) =>
  isIP(value) === 0 ? 'must be a valid IP address' : undefined,
);

const metadata = v.strictObject({
  name: v.optional(checkedString(subdomainProblem)),
  generateName: v.optional(checkedString((value) => subdomainProblem(`${value.slice(0, 240)}x`))),
  namespace: v.optional(checkedString(labelProblem)),
  labels: v.optional(
    v.record(checkedString(qualifiedNameProblem), checkedString(labelValueProblem)),
  ),
  annotations: v.optional(
    v.pipe(
      v.record(
        checkedString((key) => qualifiedNameProblem(key.toLowerCase())),
        v.string(),
      ),
      v.check(
        (all) =>
          Object.entries(all).reduce((sum, [key, value]) => sum + key.length + value.length, 0) <=
          MAX_ANNOTATION_BYTES,
        `Too long: may not be more than ${MAX_ANNOTATION_BYTES} bytes`,
      ),
    ),
  ),
  ...notSupported(
    'creationTimestamp',
    'deletionGracePeriodSeconds',
    'deletionTimestamp',
    'finalizers',
    'generation',
    'managedFields',
    'ownerReferences',
    'resourceVersion',
    'selfLink',
    'uid',
  ),
});

const hostPath = v.strictObject({
  path: checkedString((value) => {
    if (value === '') return 'Required value';
    if (!value.startsWith('/') || value.includes('\0')) return 'must be an absolute path';
    return value.split('/').includes('..') ? "must not contain '..'" : undefined;
  }),
  type: v.optional(
    oneOf(
      '',
      'BlockDevice',
      'CharDevice',
      'Directory',
      'DirectoryOrCreate',
      'File',
      'FileOrCreate',
      'Socket',
    ),
  ),
});

const volume = v.strictObject({
  name: checkedString(labelProblem),
  emptyDir: v.optional(
    v.strictObject({
      medium: v.optional(oneOfSoFar([''] as const, ['Memory', 'HugePages'])),
      ...notSupported('sizeLimit'),
    }),
  ),
  hostPath: v.optional(hostPath),
  ...notSupported(
    'awsElasticBlockStore',
    'azureDisk',
    'azureFile',
    'cephfs',
    'cinder',
    'configMap',
    'csi',
    'downwardAPI',
    'ephemeral',
    'fc',
    'flexVolume',
    'flocker',
    'gcePersistentDisk',
    'gitRepo',
    'glusterfs',
    'image',
    'iscsi',
    'nfs',
    'persistentVolumeClaim',
    'photonPersistentDisk',
    'portworxVolume',
    'projected',
    'quobyte',
    'rbd',
    'scaleIO',
    'secret',
    'storageos',
    'vsphereVolume',
  ),
});

const podSecurityContext = v.strictObject({
  runAsUser: v.optional(numericId),
  runAsGroup: v.optional(numericId),
  runAsNonRoot: v.optional(v.boolean()),
  supplementalGroups: v.optional(v.array(numericId)),
  fsGroup: v.optional(numericId),
  seccompProfile: v.optional(seccompProfile),
  sysctls: v.optional(
    v.array(
      v.strictObject({
        name: checkedString((value) =>
          /^[a-z0-9]([-_a-z0-9]*[a-z0-9])?([./][a-z0-9]([-_a-z0-9]*[a-z0-9])?)*$/.test(value)
            ? undefined
            : 'must be the name of a kernel parameter',
        ),
        value: text,
      }),
    ),
  ),
  ...notSupported(
    'appArmorProfile',
    'fsGroupChangePolicy',
    'seLinuxChangePolicy',
    'seLinuxOptions',
    'supplementalGroupsPolicy',
    'windowsOptions',
  ),
});

const dnsConfig = v.strictObject({
  nameservers: v.optional(v.array(ipAddress)),
  searches: v.optional(
    v.array(checkedString((value) => subdomainProblem(value.replace(/\.$/, '')))),
  ),
  options: v.optional(
    v.array(
      v.strictObject({
        name: checkedString((value) => (/^\S+$/.test(value) ? undefined : 'Required value')),
        value: v.optional(text),
      }),
    ),
  ),
});

const spec = v.strictObject({
  containers: v.pipe(v.array(container), v.minLength(1, 'Required value')),
  initContainers: v.optional(v.array(container)),
  volumes: v.optional(v.array(volume)),
  restartPolicy: v.optional(oneOf('Always', 'OnFailure', 'Never')),
  terminationGracePeriodSeconds: v.optional(integerBetween(0, 2 ** 31 - 1)),
  activeDeadlineSeconds: v.optional(integerBetween(1, 2 ** 31 - 1)),
  hostname: v.optional(checkedString(labelProblem)),
  hostAliases: v.optional(
    v.array(
      v.strictObject({
        ip: ipAddress,
        hostnames: v.optional(v.array(checkedString(subdomainProblem))),
      }),
    ),
  ),
  dnsPolicy: v.optional(
    oneOfSoFar(['ClusterFirst', 'Default', 'None'] as const, ['ClusterFirstWithHostNet']),
  ),
  dnsConfig: v.optional(dnsConfig),
  shareProcessNamespace: v.optional(v.boolean()),
  hostNetwork: v.optional(v.boolean()),
  hostPID: v.optional(v.boolean()),
  hostIPC: v.optional(v.boolean()),
  securityContext: v.optional(podSecurityContext),
  /** No service exists here, so both values mean the same. */
  enableServiceLinks: v.optional(v.boolean()),
  /** No token exists here, so only `false` can be honoured. */
  automountServiceAccountToken: v.optional(v.literal(false, 'Not supported yet: only false')),
  ...notSupported(
    'affinity',
    'ephemeralContainers',
    'hostUsers',
    'hostnameOverride',
    'imagePullSecrets',
    'nodeName',
    'nodeSelector',
    'os',
    'overhead',
    'preemptionPolicy',
    'priority',
    'priorityClassName',
    'readinessGates',
    'resourceClaims',
    'resources',
    'runtimeClassName',
    'schedulerName',
    'schedulingGates',
    'serviceAccount',
    'serviceAccountName',
    'setHostnameAsFQDN',
    'subdomain',
    'tolerations',
    'topologySpreadConstraints',
    'workloadRef',
  ),
});

/** A Pod manifest, checked field by field; what several fields say together is checked by `pod-rules.ts`. */
export const podManifest = v.strictObject({
  apiVersion: oneOf('v1'),
  kind: oneOf('Pod'),
  metadata,
  spec,
  /** Written by `kubectl create --dry-run`; only an empty one has a meaning here. */
  status: v.optional(v.strictObject({})),
});

export type PodManifest = v.InferOutput<typeof podManifest>;
export type PodManifestSpec = v.InferOutput<typeof spec>;
export type VolumeSpec = v.InferOutput<typeof volume>;
export type PodSecurityContext = v.InferOutput<typeof podSecurityContext>;
export type DnsConfig = v.InferOutput<typeof dnsConfig>;
