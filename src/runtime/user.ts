import { InvalidArgumentError } from '../errors.js';
import type { NativeBinding } from '../native.js';
import type { ContainerSecurity } from './container-config.js';

/** Bound of /etc/passwd and /etc/group: an image may hold a sparse file of any size there (CVE-2025-4437 class). */
const ACCOUNT_FILE_MAX_BYTES = 10 * 2 ** 20;

/** Ids from 2^31 on wrap in some interfaces, and one that wraps to 0 is root (CVE-2024-40635). */
const ID_MAX = 2 ** 31 - 1;

/** The process's identity, resolved against the image. */
export interface ResolvedUser {
  readonly uid: number;
  readonly gid: number;
  /** With the primary group first, without duplicates. */
  readonly groups: readonly number[];
  /** Home directory from the image's /etc/passwd, `/` when it has none. */
  readonly home: string;
}

export interface UserRequest {
  readonly security: Pick<
    ContainerSecurity,
    'runAsUser' | 'runAsUserName' | 'runAsGroup' | 'supplementalGroups' | 'supplementalGroupsPolicy'
  >;
  /** USER of the image config, possibly empty. */
  readonly imageUser: string;
}

/** What a user string means before anything is looked up. */
export interface UserReference {
  readonly user: number | string;
  readonly group: number | string | undefined;
}

/**
 * Parses `uid`, `name`, `uid:gid`, `name:group`. Digits are always an id and never looked up as a name, whatever /etc/passwd says (CVE-2026-46680).
 * @throws InvalidArgumentError for everything else (`0x0`, ` 1`, `1:`, `-1`, `1:2:3`, ids from 2^31 on): never root by fallback (CVE-2026-30892).
 */
export function parseUser(text: string): UserReference {
  const parts = text.split(':');
  const [user, group] = parts;
  if (parts.length > 2 || user === undefined)
    throw badUser(text, 'expected "user" or "user:group"');
  return {
    user: parseIdOrName(user, text),
    group: group === undefined ? undefined : parseIdOrName(group, text),
  };
}

/**
 * Resolves whom the process runs as: `runAsUser`, else `runAsUserName`, else the image's USER, else root.
 * The account files are read below `rootFd` with bounds; a missing one counts as empty.
 * @throws InvalidArgumentError when a name is in no account file, or an id is out of range.
 * @throws NativeError `NOT_A_REGULAR_FILE`, `LIMIT_EXCEEDED` for hostile account files.
 */
export async function resolveUser(
  native: Pick<NativeBinding, 'readFileInRoot'>,
  rootFd: number,
  request: UserRequest,
): Promise<ResolvedUser> {
  const { security } = request;
  const reference = referenceOf(request);
  const [passwd, group] = await Promise.all([
    readAccounts(native, rootFd, '/etc/passwd'),
    readAccounts(native, rootFd, '/etc/group'),
  ]);
  const account = findAccount(passwd, reference.user);
  if (account === undefined && typeof reference.user === 'string') {
    throw new InvalidArgumentError(
      `User ${JSON.stringify(reference.user)} is not in /etc/passwd of the image`,
    );
  }
  const uid = typeof reference.user === 'number' ? reference.user : checkId(account?.uid, 'uid');
  const gid =
    security.runAsGroup !== undefined
      ? checkId(security.runAsGroup, 'runAsGroup')
      : reference.group !== undefined
        ? resolveGroup(group, reference.group)
        : account === undefined
          ? 0
          : checkId(account.gid, 'gid');
  const memberships =
    security.supplementalGroupsPolicy === 'Strict' || account === undefined
      ? []
      : groupsOf(group, account.name);
  const asked = (security.supplementalGroups ?? []).map((id) => checkId(id, 'supplementalGroups'));
  return {
    uid,
    gid,
    groups: [...new Set([gid, ...memberships, ...asked])],
    home: account === undefined || !account.home.startsWith('/') ? '/' : account.home,
  };
}

function referenceOf({ security, imageUser }: UserRequest): UserReference {
  if (security.runAsUser !== undefined) {
    return { user: checkId(security.runAsUser, 'runAsUser'), group: undefined };
  }
  const text = security.runAsUserName ?? imageUser;
  return text === '' ? { user: 0, group: undefined } : parseUser(text);
}

function parseIdOrName(part: string, whole: string): number | string {
  if (/^[0-9]+$/.test(part)) {
    // Compared as text first: Number() of a long run of digits is no longer exact.
    if (part.replace(/^0+(?=.)/, '').length > 10 || Number(part) > ID_MAX) {
      throw badUser(whole, `ids above ${ID_MAX} are refused`);
    }
    return Number(part);
  }
  if (part.length > 256 || !/^[A-Za-z_][A-Za-z0-9_.@-]*\$?$/.test(part)) {
    throw badUser(whole, 'expected an id or a name');
  }
  return part;
}

function badUser(text: string, why: string): InvalidArgumentError {
  return new InvalidArgumentError(`Invalid user ${JSON.stringify(text.slice(0, 100))}: ${why}`);
}

function checkId(id: number | undefined, field: string): number {
  if (id === undefined || !Number.isInteger(id) || id < 0 || id > ID_MAX) {
    throw new InvalidArgumentError(
      `Invalid ${field} ${String(id)}: expected an integer from 0 to ${ID_MAX}`,
    );
  }
  return id;
}

async function readAccounts(
  native: Pick<NativeBinding, 'readFileInRoot'>,
  rootFd: number,
  path: string,
): Promise<string[][]> {
  const content = await native.readFileInRoot(rootFd, path, ACCOUNT_FILE_MAX_BYTES);
  if (content === null) return [];
  return content
    .toString('utf8')
    .split('\n')
    .map((line) => line.split(':'));
}

interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

/** The first matching line, as getpwnam and getpwuid find it; malformed lines are skipped. */
function findAccount(lines: readonly string[][], user: number | string): Account | undefined {
  for (const [name = '', , uidText = '', gidText = '', , home = ''] of lines) {
    const uid = parseField(uidText);
    const gid = parseField(gidText);
    if (uid === undefined || gid === undefined) continue;
    if (typeof user === 'number' ? uid === user : name === user) return { name, uid, gid, home };
  }
  return undefined;
}

function resolveGroup(lines: readonly string[][], group: number | string): number {
  if (typeof group === 'number') return group;
  for (const [name, , gidText = ''] of lines) {
    if (name === group) return checkId(parseField(gidText), 'gid');
  }
  throw new InvalidArgumentError(
    `Group ${JSON.stringify(group)} is not in /etc/group of the image`,
  );
}

function groupsOf(lines: readonly string[][], name: string): number[] {
  const found: number[] = [];
  for (const [, , gidText = '', members = ''] of lines) {
    const gid = parseField(gidText);
    if (gid === undefined || !members.split(',').includes(name)) continue;
    found.push(checkId(gid, 'gid'));
    // NGROUPS_MAX: setgroups would refuse more.
    if (found.length > 65_536) {
      throw new InvalidArgumentError(
        `User ${JSON.stringify(name)} is in more than 65536 groups in /etc/group of the image`,
      );
    }
  }
  return found;
}

function parseField(text: string): number | undefined {
  return /^[0-9]{1,10}$/.test(text) ? Number(text) : undefined;
}
