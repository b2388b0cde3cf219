import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseMountTable } from '../../src/runtime/mount-propagation.js';

describe('parseMountTable()', () => {
  it('reads ids, mount points and propagation', () => {
    const table = [
      '27 1 254:0 / / rw,relatime - ext4 /dev/vda rw',
      '36 27 0:31 / /a\\040b rw shared:5 - tmpfs tmpfs rw',
      '37 27 0:32 / /slave rw master:5 propagate_from:2 - tmpfs tmpfs rw',
      '38 27 0:33 / /both rw shared:7 master:5 - tmpfs tmpfs rw',
      'nonsense',
      '',
    ].join('\n');
    expect(parseMountTable(table)).toEqual([
      { id: 27, mountPoint: '/', isShared: false, isSlave: false },
      { id: 36, mountPoint: '/a b', isShared: true, isSlave: false },
      { id: 37, mountPoint: '/slave', isShared: false, isSlave: true },
      { id: 38, mountPoint: '/both', isShared: true, isSlave: true },
    ]);
  });

  it('is not misled by a mount point that looks like a field', () => {
    const [entry] = parseMountTable('1 2 0:1 /shared:1 /shared:2 rw - tmpfs shared:3 rw');
    expect(entry).toMatchObject({ mountPoint: '/shared:2', isShared: false });
  });

  it('survives any text', () => {
    fc.assert(fc.property(fc.string(), (text) => void parseMountTable(text)));
  });
});
