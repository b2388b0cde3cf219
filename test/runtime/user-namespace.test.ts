import { describe, expect, it } from 'vitest';
import { checkMapping, checkUserInNamespace } from '../../src/runtime/user-namespace.js';

const USER_NAMESPACE = {
  uids: { hostId: 1000, containerId: 0, length: 100 },
  gids: { hostId: 1000, containerId: 0, length: 100 },
};
const USER = { uid: 0, gid: 0, groups: [0], home: '/' };

describe('checkMapping()', () => {
  it.each([
    [-1, 0, 1],
    [0, -1, 1],
    [0, 0, 0],
    [0.5, 0, 1],
    [0, 0, 2 ** 32],
    [2 ** 32 - 1, 0, 1],
    [2 ** 31, 0, 2 ** 31],
    [Number.NaN, 0, 1],
  ])('refuses host id %d, container id %d, length %d', (hostId, containerId, length) => {
    expect(() => checkMapping({ hostId, containerId, length }, 'x')).toThrow('mapping of x');
  });

  it('takes every id but the last, which means none', () => {
    checkMapping({ hostId: 0, containerId: 0, length: 2 ** 32 - 1 }, 'x');
  });
});

describe('checkUserInNamespace()', () => {
  it('refuses a user, group or further group outside the range', () => {
    checkUserInNamespace({ ...USER, uid: 99, gid: 99 }, USER_NAMESPACE);
    checkUserInNamespace({ ...USER, uid: 5000 }, undefined);
    for (const user of [
      { ...USER, uid: 100 },
      { ...USER, gid: 100 },
      { ...USER, groups: [0, 100] },
    ]) {
      expect(() => checkUserInNamespace(user, USER_NAMESPACE)).toThrow('Id 100 is outside');
    }
  });
});
