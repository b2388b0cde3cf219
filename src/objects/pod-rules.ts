import type { ContainerSpec, EnvironmentVariable } from './container-schema.js';
import type { FieldPath } from './manifest.js';
import { labelProblem } from './names.js';
import type { PodManifest, PodManifestSpec } from './pod-schema.js';
import { parseQuantity } from './quantity.js';

/** Takes one problem with the field at `path`. */
export type Report = (path: FieldPath, message: string) => void;

const ALLOWED_DIVISORS: Readonly<Record<'cpu' | 'memory', readonly string[]>> = {
  cpu: ['1m', '1'],
  memory: ['1', '1k', '1M', '1G', '1T', '1P', '1E', '1Ki', '1Mi', '1Gi', '1Ti', '1Pi', '1Ei'],
};

/**
 * Rules over several fields of a Pod whose fields are each well-formed.
 * @see k8s pkg/apis/core/validation/validation.go, whose wording is used
 */
export function checkPodRules(pod: PodManifest, report: Report): void {
  const { metadata, spec } = pod;
  if (!metadata.name && !metadata.generateName) {
    report(['metadata', 'name'], 'Required value: name or generateName is required');
  }
  checkVolumes(spec, report);
  checkPodWideFields(spec, report);
  const names = new Set<string>();
  const portNames = new Set<string>();
  for (const list of ['initContainers', 'containers'] as const) {
    spec[list]?.forEach((container, index) => {
      const path = ['spec', list, index];
      checkUnique(names, { value: container.name, path: [...path, 'name'], report });
      checkContainer(container, { spec, path, report });
      if (list === 'containers') checkPorts(container, { portNames, path, report });
    });
  }
}

interface Place {
  readonly path: FieldPath;
  readonly report: Report;
}

function checkUnique(seen: Set<string>, { value, path, report }: Place & { value: string }): void {
  if (seen.has(value)) report(path, `Duplicate value: ${JSON.stringify(value)}`);
  seen.add(value);
}

function checkVolumes(spec: PodManifestSpec, report: Report): void {
  const names = new Set<string>();
  spec.volumes?.forEach((volume, index) => {
    const path = ['spec', 'volumes', index];
    checkUnique(names, { value: volume.name, path: [...path, 'name'], report });
    const sources = [volume.emptyDir, volume.hostPath].filter((source) => source !== undefined);
    if (sources.length === 0) report(path, 'Required value: must specify a volume type');
    if (sources.length > 1) report(path, 'Forbidden: may not specify more than 1 volume type');
  });
}

function checkPodWideFields(spec: PodManifestSpec, report: Report): void {
  if (spec.hostPID && spec.shareProcessNamespace) {
    report(
      ['spec', 'shareProcessNamespace'],
      'Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled',
    );
  }
  if (spec.dnsPolicy === 'None' && !spec.dnsConfig?.nameservers?.length) {
    report(
      ['spec', 'dnsConfig', 'nameservers'],
      'Required value: must provide at least one DNS nameserver when `dnsPolicy` is None',
    );
  }
  if ((spec.dnsConfig?.nameservers?.length ?? 0) > 3) {
    report(['spec', 'dnsConfig', 'nameservers'], 'Too many: must have at most 3 items');
  }
  if ((spec.dnsConfig?.searches?.length ?? 0) > 32) {
    report(['spec', 'dnsConfig', 'searches'], 'Too many: must have at most 32 items');
  }
  const sysctls = new Set<string>();
  spec.securityContext?.sysctls?.forEach((sysctl, index) => {
    const path = ['spec', 'securityContext', 'sysctls', index, 'name'];
    const name = sysctl.name.replaceAll('/', '.');
    checkUnique(sysctls, { value: name, path, report });
    if (/^net\./.test(name)) {
      if (spec.hostNetwork)
        report(path, 'Invalid value: may not be specified when "hostNetwork" is true');
    } else if (/^(kernel\.(shm|msg|sem)|fs\.mqueue\.)/.test(name)) {
      if (spec.hostIPC) report(path, 'Invalid value: may not be specified when "hostIPC" is true');
    } else {
      report(path, `Forbidden: "${name}" is not a parameter of a namespace of the pod`);
    }
  });
}

function checkContainer(
  container: ContainerSpec,
  { spec, path, report }: Place & { spec: PodManifestSpec },
): void {
  container.env?.forEach((variable, index) => {
    checkEnvironment(variable, { spec, path: [...path, 'env', index], report });
  });
  checkMounts(container, { spec, path, report });
  for (const resource of ['cpu', 'memory'] as const) {
    const limit = container.resources?.limits?.[resource];
    const request = container.resources?.requests?.[resource];
    if (limit === undefined || request === undefined) continue;
    if (parseQuantity(request).nanos > parseQuantity(limit).nanos) {
      report(
        [...path, 'resources', 'requests'],
        `Invalid value: ${JSON.stringify(String(request))}: must be less than or equal to ${resource} limit of ${limit}`,
      );
    }
  }
  const security = container.securityContext;
  if (security?.allowPrivilegeEscalation === false) {
    const field = [...path, 'securityContext'];
    if (security.privileged) {
      report(
        field,
        'Invalid value: cannot set `allowPrivilegeEscalation` to false and `privileged` to true',
      );
    }
    if (security.capabilities?.add?.some((name) => /^(CAP_)?SYS_ADMIN$/.test(name))) {
      report(
        field,
        'Invalid value: cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN',
      );
    }
  }
}

function checkEnvironment(
  variable: EnvironmentVariable,
  { spec, path, report }: Place & { spec: PodManifestSpec },
): void {
  const { valueFrom } = variable;
  if (valueFrom === undefined) return;
  const field = [...path, 'valueFrom'];
  if (variable.value) {
    report(field, 'Invalid value: "": may not be specified when `value` is not empty');
  }
  const sources = [valueFrom.fieldRef, valueFrom.resourceFieldRef].filter(
    (one) => one !== undefined,
  );
  if (sources.length === 0)
    report(field, 'Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`');
  if (sources.length > 1)
    report(field, 'Invalid value: "": may not have more than one field specified at a time');
  const reference = valueFrom.resourceFieldRef;
  if (reference === undefined) return;
  const at = [...field, 'resourceFieldRef'];
  if (reference.divisor !== undefined) {
    const kind = reference.resource.endsWith('cpu') ? 'cpu' : 'memory';
    const allowed = ['0', ...ALLOWED_DIVISORS[kind]];
    if (
      !allowed.some(
        (one) => parseQuantity(one).nanos === parseQuantity(reference.divisor ?? 0).nanos,
      )
    ) {
      report(
        [...at, 'divisor'],
        `Invalid value: ${JSON.stringify(String(reference.divisor))}: only divisor's values ${ALLOWED_DIVISORS[kind].join(', ')} are supported with the ${kind} resource`,
      );
    }
  }
  const known = [...(spec.initContainers ?? []), ...spec.containers].map(({ name }) => name);
  if (reference.containerName && !known.includes(reference.containerName)) {
    report([...at, 'containerName'], `Not found: ${JSON.stringify(reference.containerName)}`);
  }
}

function checkMounts(
  container: ContainerSpec,
  { spec, path, report }: Place & { spec: PodManifestSpec },
): void {
  const mountPaths = new Set<string>();
  container.volumeMounts?.forEach((mount, index) => {
    const at = [...path, 'volumeMounts', index];
    if (!spec.volumes?.some(({ name }) => name === mount.name)) {
      report([...at, 'name'], `Not found: ${JSON.stringify(mount.name)}`);
    }
    if (mountPaths.has(mount.mountPath)) {
      report(
        [...at, 'mountPath'],
        `Invalid value: ${JSON.stringify(mount.mountPath)}: must be unique`,
      );
    }
    mountPaths.add(mount.mountPath);
    if (mount.mountPropagation === 'Bidirectional' && !container.securityContext?.privileged) {
      report(
        [...at, 'mountPropagation'],
        'Forbidden: Bidirectional mount propagation is available only to privileged containers',
      );
    }
    if (mount.recursiveReadOnly === undefined || mount.recursiveReadOnly === 'Disabled') return;
    const field = [...at, 'recursiveReadOnly'];
    if (!mount.readOnly) report(field, 'Forbidden: may only be specified when readOnly is true');
    if ((mount.mountPropagation ?? 'None') !== 'None') {
      report(
        field,
        'Forbidden: may only be specified when mountPropagation is None or not specified',
      );
    }
  });
}

function checkPorts(
  container: ContainerSpec,
  { portNames, path, report }: Place & { portNames: Set<string> },
): void {
  container.ports?.forEach((port, index) => {
    if (port.name === undefined) return;
    const at = [...path, 'ports', index, 'name'];
    if (
      port.name.length > 15 ||
      labelProblem(port.name) !== undefined ||
      !/[a-z]/.test(port.name)
    ) {
      report(
        at,
        `Invalid value: ${JSON.stringify(port.name)}: must be no more than 15 characters, lower case alphanumeric or '-', with at least one letter`,
      );
    }
    checkUnique(portNames, { value: port.name, path: at, report });
  });
}
