import * as v from 'valibot';
import {
  absolutePath,
  checkedString,
  integerBetween,
  notSupported,
  numericId,
  oneOf,
  oneOfSoFar,
  quantity,
  text,
} from './fields.js';
import { environmentNameProblem, labelProblem } from './names.js';

const FIELD_PATHS = [
  'metadata.name',
  'metadata.namespace',
  'metadata.uid',
  'spec.nodeName',
  'spec.serviceAccountName',
  'status.hostIP',
  'status.hostIPs',
  'status.podIP',
  'status.podIPs',
];
const RESOURCE_NAMES = ['limits.cpu', 'limits.memory', 'requests.cpu', 'requests.memory'] as const;

const fieldPath = checkedString((value) =>
  FIELD_PATHS.includes(value) || /^metadata\.(labels|annotations)\['[^']+'\]$/.test(value)
    ? undefined
    : `Unsupported value: supported values: ${FIELD_PATHS.map((path) => `"${path}"`).join(', ')}, "metadata.labels['<KEY>']", "metadata.annotations['<KEY>']"`,
);

const environmentVariable = v.strictObject({
  name: checkedString(environmentNameProblem),
  value: v.optional(text),
  valueFrom: v.optional(
    v.strictObject({
      fieldRef: v.optional(v.strictObject({ apiVersion: v.optional(oneOf('v1')), fieldPath })),
      resourceFieldRef: v.optional(
        v.strictObject({
          resource: oneOfSoFar(RESOURCE_NAMES, [
            'limits.ephemeral-storage',
            'requests.ephemeral-storage',
          ]),
          containerName: v.optional(v.string()),
          divisor: v.optional(quantity),
        }),
      ),
      ...notSupported('configMapKeyRef', 'secretKeyRef', 'fileKeyRef'),
    }),
  ),
});

const amounts = v.strictObject({
  cpu: v.optional(quantity),
  memory: v.optional(quantity),
  ...notSupported('ephemeral-storage', 'hugepages-2Mi', 'hugepages-1Gi'),
});

/** Compute resources of a container. */
export const resources = v.strictObject({
  limits: v.optional(amounts),
  requests: v.optional(amounts),
  ...notSupported('claims'),
});

/** Which system calls are refused. */
export const seccompProfile = v.strictObject({
  type: oneOfSoFar(['RuntimeDefault', 'Unconfined'] as const, ['Localhost']),
  ...notSupported('localhostProfile'),
});

const securityContext = v.strictObject({
  runAsUser: v.optional(numericId),
  runAsGroup: v.optional(numericId),
  runAsNonRoot: v.optional(v.boolean()),
  privileged: v.optional(v.boolean()),
  readOnlyRootFilesystem: v.optional(v.boolean()),
  allowPrivilegeEscalation: v.optional(v.boolean()),
  capabilities: v.optional(
    v.strictObject({ add: v.optional(v.array(text)), drop: v.optional(v.array(text)) }),
  ),
  seccompProfile: v.optional(seccompProfile),
  procMount: v.optional(oneOfSoFar(['Default'] as const, ['Unmasked'])),
  ...notSupported('appArmorProfile', 'seLinuxOptions', 'windowsOptions'),
});

const volumeMount = v.strictObject({
  name: v.string(),
  mountPath: checkedString((value) => {
    if (value === '') return 'Required value';
    return /[:\0]/.test(value) ? "must not contain ':'" : undefined;
  }),
  readOnly: v.optional(v.boolean()),
  recursiveReadOnly: v.optional(oneOf('Disabled', 'IfPossible', 'Enabled')),
  mountPropagation: v.optional(oneOf('None', 'HostToContainer', 'Bidirectional')),
  ...notSupported('subPath', 'subPathExpr'),
});

const port = v.strictObject({
  containerPort: integerBetween(1, 65535),
  name: v.optional(v.string()),
  protocol: v.optional(oneOf('TCP', 'UDP', 'SCTP')),
  ...notSupported('hostPort', 'hostIP'),
});

/** One container as a Pod manifest writes it. */
export const container = v.strictObject({
  name: checkedString(labelProblem),
  image: checkedString((value) => {
    if (value === '') return 'Required value';
    return value.trim() === value ? undefined : 'must not have leading or trailing whitespace';
  }),
  imagePullPolicy: v.optional(oneOf('Always', 'IfNotPresent', 'Never', '')),
  command: v.optional(v.array(text)),
  args: v.optional(v.array(text)),
  env: v.optional(v.array(environmentVariable)),
  workingDir: v.optional(absolutePath),
  resources: v.optional(resources),
  ports: v.optional(v.array(port)),
  securityContext: v.optional(securityContext),
  volumeMounts: v.optional(v.array(volumeMount)),
  stdin: v.optional(v.boolean()),
  stdinOnce: v.optional(v.boolean()),
  tty: v.optional(v.boolean()),
  terminationMessagePath: v.optional(
    checkedString((value) => {
      if (value === '' || (value.startsWith('/') && !value.includes('\0'))) return undefined;
      return 'must be an absolute path';
    }),
  ),
  terminationMessagePolicy: v.optional(oneOf('File', 'FallbackToLogsOnError')),
  ...notSupported(
    'envFrom',
    'lifecycle',
    'livenessProbe',
    'readinessProbe',
    'startupProbe',
    'resizePolicy',
    'restartPolicy',
    'restartPolicyRules',
    'volumeDevices',
  ),
});

export type ContainerSpec = v.InferOutput<typeof container>;
export type EnvironmentVariable = v.InferOutput<typeof environmentVariable>;
export type ContainerResources = v.InferOutput<typeof resources>;
export type ContainerSecurityContext = v.InferOutput<typeof securityContext>;
export type VolumeMount = v.InferOutput<typeof volumeMount>;
export type ImagePullPolicy = 'Always' | 'IfNotPresent' | 'Never';
