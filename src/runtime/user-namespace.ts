import { InvalidArgumentError } from '../errors.js';
import type { IdMapping, SandboxConfig, UserNamespace } from './sandbox-config.js';
import type { ResolvedUser } from './user.js';

/** Ids are 32 bits, and the last one means "no id" to the kernel. */
const IDS = 2 ** 32 - 1;

/**
 * Refuses a user namespace that a pod cannot have: its uids and gids are one and the same range, which begins with root.
 * @throws InvalidArgumentError naming what is wrong.
 */
export function checkUserNamespace(
  config: Pick<SandboxConfig, 'userNamespace' | 'hostPid' | 'hostIpc'>,
): void {
  const { userNamespace } = config;
  if (userNamespace === undefined) return;
  const { uids, gids } = userNamespace;
  checkMapping(uids, 'uids of the user namespace');
  checkMapping(gids, 'gids of the user namespace');
  if (uids.containerId !== 0 || gids.containerId !== 0) {
    throw new InvalidArgumentError('The user namespace does not map id 0 of its containers');
  }
  if (uids.hostId !== gids.hostId || uids.length !== gids.length) {
    throw new InvalidArgumentError('The user namespace maps its uids and its gids differently');
  }
  // The kernel gives root of the one no rights in the other, so that nothing of the pod would work.
  if (config.hostPid || config.hostIpc) {
    throw new InvalidArgumentError(
      `A pod with its own user namespace cannot use the host's ${config.hostPid ? 'process' : 'IPC'} namespace`,
    );
  }
}

/** @throws InvalidArgumentError naming `what`, for a range that is empty or leaves the ids. */
export function checkMapping({ hostId, containerId, length }: IdMapping, what: string): void {
  const isId = (value: number) => Number.isInteger(value) && value >= 0 && value < IDS;
  if (
    isId(hostId) &&
    isId(containerId) &&
    Number.isInteger(length) &&
    length > 0 &&
    hostId + length <= IDS &&
    containerId + length <= IDS
  ) {
    return;
  }
  throw new InvalidArgumentError(
    `Invalid mapping of ${what}: host id ${hostId}, container id ${containerId}, length ${length}`,
  );
}

/**
 * Refuses a user that the pod's user namespace does not have: the kernel could not make the process.
 * @throws InvalidArgumentError naming the id and the range.
 */
export function checkUserInNamespace(
  { uid, gid, groups }: ResolvedUser,
  userNamespace: UserNamespace | undefined,
): void {
  if (userNamespace === undefined) return;
  const { length } = userNamespace.uids;
  const [outside] = [uid, gid, ...groups].filter((id) => id >= length);
  if (outside === undefined) return;
  throw new InvalidArgumentError(
    `Id ${outside} is outside the user namespace of the pod, which has the ids 0 to ${length - 1}`,
  );
}
