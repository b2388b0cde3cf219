import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  checkDevicePath,
  checkPermissions,
  deviceNumbers,
  mergeDevices,
} from '../../src/runtime/host-devices.js';
import { DEFAULT_DEVICES } from '../../src/runtime/mounts.js';

describe('deviceNumbers()', () => {
  it('takes apart what makedev puts together', () => {
    const number = fc.integer({ min: 0, max: 0xfffff });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xfff }), number, (major, minor) => {
        const rdev = (minor & 0xff) | (major << 8);
        const whole = BigInt(rdev) + ((BigInt(minor) & ~0xffn) << 12n);
        expect(deviceNumbers(Number(whole))).toEqual({ major, minor });
      }),
    );
  });
});

describe('checkPermissions()', () => {
  it('takes each letter once', () => {
    for (const good of ['', 'r', 'rw', 'rwm', 'mr']) checkPermissions(good, '/dev/x');
    for (const bad of ['x', 'rr', 'rwmr', 'RW', 'r w']) {
      expect(() => checkPermissions(bad, '/dev/x')).toThrow('Device "/dev/x"');
    }
  });
});

describe('checkDevicePath()', () => {
  it.each(['', 'dev/x', '/', '/dev/../x', '/proc/x', '/sys', '/dev/a\0b'])('refuses %j', (path) => {
    expect(() => checkDevicePath(path)).toThrow('evice path');
  });
});

describe('mergeDevices()', () => {
  it('lets the last of a path count, in its first place', () => {
    const [nothing] = DEFAULT_DEVICES;
    if (nothing === undefined) throw new Error('No default devices');
    const own = { ...nothing, fileMode: 0o600 };
    expect(mergeDevices(DEFAULT_DEVICES, [own])).toEqual([own, ...DEFAULT_DEVICES.slice(1)]);
  });
});
