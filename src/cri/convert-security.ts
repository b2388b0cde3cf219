import { InvalidArgumentError } from '../errors.js';
import type { ContainerSecurity } from '../runtime/container-config.js';
import type { SandboxRecord } from '../sandbox/sandbox-record.js';
import { present, toNumber } from './convert.js';
import {
  type LinuxContainerSecurityContext,
  SecurityProfile_ProfileType as ProfileType,
  type SecurityProfile,
  SupplementalGroupsPolicy,
} from './generated/api.js';

const LOCALHOST = 'localhost/';

/**
 * Security of a container. Lists of masked and read-only paths count as they are, the empty one too: that is how a kubelet says "unmasked". Only a
 * client that says nothing at all about security gets the usual ones.
 * @throws InvalidArgumentError for what contradicts itself or its sandbox.
 */
export function toContainerSecurity(
  context: LinuxContainerSecurityContext | undefined,
  sandbox: Pick<SandboxRecord, 'config'>,
): ContainerSecurity {
  if (context === undefined) return UNSAID;
  const { capabilities } = context;
  if (context.privileged && sandbox.config.privileged === false) {
    throw new InvalidArgumentError('A privileged container needs a privileged sandbox');
  }
  if ((capabilities?.addAmbientCapabilities ?? []).length > 0) {
    throw new InvalidArgumentError(
      'Ambient capabilities are not supported: a program without file capabilities cannot lose what it never had',
    );
  }
  const appArmor = toAppArmor(context);
  return {
    ...toUser(context),
    privileged: context.privileged,
    readOnlyRootFilesystem: context.readonlyRootfs,
    noNewPrivileges: context.noNewPrivs,
    addCapabilities: capabilities?.addCapabilities ?? [],
    dropCapabilities: capabilities?.dropCapabilities ?? [],
    seccomp: toSeccomp(context),
    ...(appArmor === undefined ? {} : { appArmor }),
    maskedPaths: context.maskedPaths,
    readonlyPaths: context.readonlyPaths,
  };
}

/** No word about security: not confined by seccomp, as the interface has it, and otherwise as careful as usual. */
const UNSAID: ContainerSecurity = {
  privileged: false,
  readOnlyRootFilesystem: false,
  noNewPrivileges: false,
  addCapabilities: [],
  dropCapabilities: [],
  seccomp: 'unconfined',
};

function toUser(context: LinuxContainerSecurityContext): Partial<ContainerSecurity> {
  const { runAsUser, runAsGroup, supplementalGroups } = context;
  const runAsUserName = present(context.runAsUsername);
  if (runAsGroup !== undefined && runAsUser === undefined && runAsUserName === undefined) {
    throw new InvalidArgumentError('run_as_group is set without run_as_user or run_as_username');
  }
  return {
    ...(runAsUser === undefined ? {} : { runAsUser: toNumber(runAsUser.value, 'run_as_user') }),
    ...(runAsUserName === undefined ? {} : { runAsUserName }),
    ...(runAsGroup === undefined ? {} : { runAsGroup: toNumber(runAsGroup.value, 'run_as_group') }),
    supplementalGroups: supplementalGroups.map((group) => toNumber(group, 'supplemental_groups')),
    supplementalGroupsPolicy:
      context.supplementalGroupsPolicy === SupplementalGroupsPolicy.Strict ? 'Strict' : 'Merge',
  };
}

/** No profile is unconfined, an empty one the default; the path of older clients is looked at when there is no message. */
function toSeccomp(context: LinuxContainerSecurityContext): ContainerSecurity['seccomp'] {
  const { seccomp } = context;
  const profile = seccomp === undefined ? olderProfile(context.seccompProfilePath) : seccomp;
  if (profile === undefined) return 'unconfined';
  const kind = profileKind(profile, 'seccomp');
  if (kind !== 'localhost') return kind;
  const path = localReference(profile, 'seccomp');
  if (!path.startsWith('/')) {
    throw new InvalidArgumentError(
      `Seccomp profile ${JSON.stringify(path.slice(0, 200))}: expected an absolute path`,
    );
  }
  return { path };
}

function toAppArmor(context: LinuxContainerSecurityContext): ContainerSecurity['appArmor'] {
  const { apparmor } = context;
  const profile = apparmor === undefined ? olderProfile(context.apparmorProfile) : apparmor;
  if (profile === undefined) return undefined;
  const kind = profileKind(profile, 'AppArmor');
  return kind === 'localhost' ? { profile: localReference(profile, 'AppArmor') } : kind;
}

function profileKind(
  { profileType }: SecurityProfile,
  what: string,
): 'default' | 'unconfined' | 'localhost' {
  switch (profileType) {
    case ProfileType.RuntimeDefault:
      return 'default';
    case ProfileType.Unconfined:
      return 'unconfined';
    case ProfileType.Localhost:
      return 'localhost';
    default:
      throw new InvalidArgumentError(`Unknown type ${String(profileType)} of a ${what} profile`);
  }
}

function localReference({ localhostRef }: SecurityProfile, what: string): string {
  const reference = localhostRef.startsWith(LOCALHOST)
    ? localhostRef.slice(LOCALHOST.length)
    : localhostRef;
  if (reference === '') throw new InvalidArgumentError(`A localhost ${what} profile has no name`);
  return reference;
}

/** Texts by which profiles were named before they were messages. */
function olderProfile(text: string): SecurityProfile | undefined {
  if (text === '') return undefined;
  if (text === 'unconfined') return { profileType: ProfileType.Unconfined, localhostRef: '' };
  if (text === 'runtime/default' || text === 'docker/default') {
    return { profileType: ProfileType.RuntimeDefault, localhostRef: '' };
  }
  if (text.startsWith(LOCALHOST)) {
    return { profileType: ProfileType.Localhost, localhostRef: text };
  }
  throw new InvalidArgumentError(
    `Security profile ${JSON.stringify(text.slice(0, 200))}: expected "runtime/default", "unconfined" or "localhost/…"`,
  );
}
