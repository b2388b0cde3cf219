import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { appArmorProfile } from '../../src/runtime/apparmor.js';

describe('appArmorProfile()', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'cais-apparmor-'));
  });
  afterEach(() => rm(directory, { recursive: true }));
  const files = () => ({
    enabled: join(directory, 'enabled'),
    profiles: join(directory, 'profiles'),
  });
  const named = (profile: string) => ({ appArmor: { profile } });

  it('on a kernel without AppArmor lets default and unconfined pass, and refuses a named one', async () => {
    for (const security of [{}, { appArmor: 'default' }, { appArmor: 'unconfined' }] as const) {
      await expect(appArmorProfile(security, files())).resolves.toBeUndefined();
    }
    await expect(appArmorProfile(named('mine'), files())).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: expect.stringContaining('"mine": this kernel has no AppArmor'),
    });
  });

  it('takes a profile that is loaded, and refuses one that is not', async () => {
    await writeFile(files().enabled, 'Y\n');
    await writeFile(files().profiles, 'docker-default (enforce)\nmine // sub (complain)\n');
    await expect(appArmorProfile(named('docker-default'), files())).resolves.toBe('docker-default');
    await expect(appArmorProfile(named('mine // sub'), files())).resolves.toBe('mine // sub');
    await expect(appArmorProfile(named('docker'), files())).rejects.toThrow('is not loaded');
    for (const bad of ['', ' x', 'a\nb', 'x\0']) {
      await expect(appArmorProfile(named(bad), files())).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      });
    }
  });
});
