import { readFile } from 'node:fs/promises';
import { release } from 'node:os';

/** What the native runtime can do on this machine beyond the usual; words of the CRI's RuntimeHandlerFeatures and RuntimeFeatures. */
export interface NativeFeatures {
  readonly recursiveReadOnlyMounts: boolean;
  readonly userNamespaces: boolean;
  /** A pod with its own user namespace may use the host's network. */
  readonly userNamespacesHostNetwork: boolean;
  readonly supplementalGroupsPolicy: boolean;
  readonly mountOptions: boolean;
}

/** Detached mounts as layers of an overlay, and clones of them. */
const USER_NAMESPACES_SINCE: readonly [major: number, minor: number] = [6, 15];

/** Looks at the kernel; another `kernelRelease` for tests. */
export async function nativeFeatures(kernelRelease = release()): Promise<NativeFeatures> {
  const userNamespaces =
    isAtLeast(kernelRelease, USER_NAMESPACES_SINCE) && (await hasUserNamespaces());
  return {
    recursiveReadOnlyMounts: true,
    userNamespaces,
    userNamespacesHostNetwork: userNamespaces,
    supplementalGroupsPolicy: true,
    mountOptions: true,
  };
}

function isAtLeast(kernelRelease: string, [major, minor]: readonly [number, number]): boolean {
  const match = /^(\d+)\.(\d+)/.exec(kernelRelease);
  if (match === null) return false;
  const own = [Number(match[1]), Number(match[2])] as const;
  return own[0] > major || (own[0] === major && own[1] >= minor);
}

/** An administrator may allow none; a kernel may be built without. */
async function hasUserNamespaces(): Promise<boolean> {
  try {
    return Number(await readFile('/proc/sys/user/max_user_namespaces', 'utf8')) > 0;
  } catch {
    return false;
  }
}
