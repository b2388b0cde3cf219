import { readFile } from 'node:fs/promises';
import { InvalidArgumentError, UnsupportedError } from '../errors.js';
import type { ContainerSecurity } from './container-config.js';

const ENABLED = '/sys/module/apparmor/parameters/enabled';
const PROFILES = '/sys/kernel/security/apparmor/profiles';
/** A thousand profiles take about 40 KiB. */
const PROFILES_MAX_BYTES = 16 * 2 ** 20;

/** Where the kernel says what it has; other files in tests. */
export interface AppArmorFiles {
  readonly enabled: string;
  readonly profiles: string;
}

/**
 * The AppArmor profile that a container is confined by; undefined: none. cais brings no profile of its own, so `default` confines by
 * nothing.
 * @throws UnsupportedError for a named profile when the kernel has no AppArmor; InvalidArgumentError when it is not loaded.
 */
export async function appArmorProfile(
  { appArmor = 'default' }: Pick<ContainerSecurity, 'appArmor'>,
  files: AppArmorFiles = { enabled: ENABLED, profiles: PROFILES },
): Promise<string | undefined> {
  if (appArmor === 'default' || appArmor === 'unconfined') return undefined;
  const { profile } = appArmor;
  const shown = JSON.stringify(profile.slice(0, 200));
  if (!/^[^\s\0][^\n\0]{0,4000}$/.test(profile)) {
    throw new InvalidArgumentError(`AppArmor profile ${shown}: expected the name of a profile`);
  }
  const enabled = await readOrNothing(files.enabled);
  if (!enabled.startsWith('Y')) {
    throw new UnsupportedError(
      `AppArmor profile ${shown}: this kernel has no AppArmor, or it is switched off`,
    );
  }
  const loaded = (await readOrNothing(files.profiles)).slice(0, PROFILES_MAX_BYTES);
  // Each line is a name and its mode: `docker-default (enforce)`.
  const names = loaded.split('\n').map((line) => line.replace(/ \([a-z]+\)$/, ''));
  if (names.includes(profile)) return profile;
  throw new InvalidArgumentError(
    `AppArmor profile ${shown} is not loaded on this machine: load it with "apparmor_parser"`,
  );
}

async function readOrNothing(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return '';
    throw error;
  }
}
