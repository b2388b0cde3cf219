import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadNative } from '../../src/native.js';
import { SeccompCompiler } from '../../src/runtime/seccomp.js';
import { defaultSeccompProfile } from '../../src/runtime/seccomp-profile.js';

const { EPERM, ENOSYS, EINVAL, EFAULT, EBADF } = constants.errno;
const native = loadNative();
const x64 = process.arch === 'x64';
let directory: string;
let probe: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'cais-seccomp-'));
  probe = join(directory, 'probe');
  execFileSync('gcc', ['-O1', '-o', probe, join(import.meta.dirname, 'seccomp-probe.c')]);
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Errno values of calls made below a filter, in order. */
function errors(filter: Uint8Array, calls: readonly string[]): number[] {
  const output = execFileSync(probe, calls, { input: filter, encoding: 'utf8' });
  return output.trim().split('\n').map(Number);
}

const CALLS_X64 = {
  getpid: 39,
  socket: 41,
  clone: 56,
  ptrace: 101,
  personality: 135,
  chroot: 161,
  mount: 165,
  add_key: 248,
  keyctl: 250,
  unshare: 272,
  perf_event_open: 298,
  setns: 308,
  bpf: 321,
  userfaultfd: 323,
  io_uring_setup: 425,
  io_uring_enter: 426,
  io_uring_register: 427,
  clone3: 435,
  fchmodat2: 452,
  reboot: 169,
  kexec_load: 246,
  init_module: 175,
  open_by_handle_at: 304,
  swapon: 167,
  modify_ldt: 154,
};

describe('default profile', () => {
  const byName = (name: keyof typeof CALLS_X64, ...args: number[]) =>
    [CALLS_X64[name], ...args].join(':');

  test.runIf(x64)('refuses what ordinary programs have no business with', async () => {
    const filter = await new SeccompCompiler(native).filter('default', ['CAP_NET_RAW']);
    const refused = [
      'add_key',
      'keyctl',
      'bpf',
      'userfaultfd',
      'io_uring_setup',
      'io_uring_enter',
      'io_uring_register',
      'perf_event_open',
      'mount',
      'setns',
      'reboot',
      'kexec_load',
      'init_module',
      'open_by_handle_at',
      'swapon',
      'chroot',
    ] as const;
    const got = errors(
      filter,
      refused.map((name) => byName(name)),
    );
    expect(Object.fromEntries(refused.map((name, i) => [name, got[i]]))).toEqual(
      Object.fromEntries(refused.map((name) => [name, EPERM])),
    );
  });

  test.runIf(x64)('refuses new namespaces and answers ENOSYS for clone3', async () => {
    const filter = await new SeccompCompiler(native).filter('default', []);
    const namespaces = [
      0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000,
    ];
    const calls = namespaces.flatMap((flag) => [byName('clone', flag), byName('unshare', flag)]);
    expect(new Set(errors(filter, calls))).toEqual(new Set([EPERM]));
    expect(
      errors(filter, [
        byName('unshare', 0x80),
        byName('unshare', 0x400),
        byName('clone3'),
        byName('getpid'),
      ]),
    ).toEqual([EPERM, 0, ENOSYS, 0]);
  });

  test.runIf(x64)('refuses AF_ALG and AF_VSOCK, with bits above the 32nd too', async () => {
    const filter = await new SeccompCompiler(native).filter('default', []);
    const high = 2 ** 32;
    const refused = [38, 40, high + 38, high + 40, 48, 0xffffffff];
    expect(
      new Set(
        errors(
          filter,
          refused.map((family) => byName('socket', family, 1)),
        ),
      ),
    ).toEqual(new Set([EPERM]));
    const allowed = [1, 2, 10, high + 2];
    expect(
      errors(
        filter,
        allowed.map((family) => byName('socket', family, 1)),
      ),
    ).toEqual([0, 0, 0, 0]);
    // AF_NETLINK, AF_PACKET and AF_XDP reach the kernel, which decides by capability.
    const known = [16, 17, 44].map((family) => byName('socket', family, 3));
    expect(errors(filter, known)).not.toContain(EPERM);
  });

  test.runIf(x64)('covers the 32-bit ABI', async () => {
    const filter = await new SeccompCompiler(native).filter('default', []);
    // getpid, mount, socketcall(SYS_SOCKET), keyctl, clone(CLONE_NEWUSER), fchmodat2 (known by number), and one of the future
    expect(errors(filter, ['i20', 'i21', 'i102:1', 'i288', 'i120:0x10000000', 'i700'])).toEqual([
      0,
      EPERM,
      EPERM,
      EPERM,
      EPERM,
      ENOSYS,
    ]);
    expect(errors(filter, ['i359:38', 'i359:40', 'i359:99'])).toEqual([EPERM, EPERM, EPERM]);
    // x32: getpid, mount
    const x32 = 0x40000000;
    expect(errors(filter, [`${x32 + 165}`])).toEqual([EPERM]);
  });

  test.runIf(x64)(
    'answers ENOSYS for calls newer than itself and lets known new ones through',
    async () => {
      const filter = await new SeccompCompiler(native).filter('default', []);
      const got = errors(filter, ['900', byName('fchmodat2', 0), '470']);
      expect(got[0]).toBe(ENOSYS);
      expect([EFAULT, EINVAL, EBADF, ENOSYS]).toContain(got[1]);
      expect(got[2]).toBe(ENOSYS);
    },
  );

  test.runIf(x64)('permits personalities that protect, only', async () => {
    const filter = await new SeccompCompiler(native).filter('default', []);
    expect(
      errors(
        filter,
        ['0xffffffff', '0', '8', '0x40000', '0x400000', '0x20000'].map((value) => `135:${value}`),
      ),
    ).toEqual([0, 0, 0, EPERM, EPERM, 0]);
  });

  test.runIf(x64)('grows with capabilities, and only by what they guard', async () => {
    const compiler = new SeccompCompiler(native);
    const calls = (['mount', 'setns', 'chroot', 'bpf', 'keyctl'] as const).map((name) =>
      byName(name),
    );
    const changed = async (capability: string) => {
      const filter = await compiler.filter('default', [capability]);
      return errors(filter, calls).map((error) => error !== EPERM);
    };
    expect(await changed('CAP_SYS_CHROOT')).toEqual([false, false, true, false, false]);
    expect(await changed('CAP_SYS_ADMIN')).toEqual([true, true, false, true, false]);
    expect(errors(await compiler.filter('default', ['SYS_ADMIN']), ['435'])).not.toEqual([ENOSYS]);
  });

  test('names no call twice and none that it must refuse', () => {
    const names = (defaultSeccompProfile([]).syscalls ?? []).flatMap((rule) =>
      rule.args === undefined && rule.action === 'SCMP_ACT_ALLOW' ? rule.names : [],
    );
    expect(new Set(names).size).toBe(names.length);
    for (const refused of [
      'keyctl',
      'bpf',
      'mount',
      'setns',
      'socket',
      'socketcall',
      'clone',
      'clone3',
      'io_uring_setup',
      'userfaultfd',
    ]) {
      expect(names).not.toContain(refused);
    }
  });

  test('exists for arm64 and is refused for others', () => {
    expect(defaultSeccompProfile([], 'arm64').architectures).toContain('SCMP_ARCH_AARCH64');
    expect(() => defaultSeccompProfile([], 's390x')).toThrow(/s390x/);
  });
});

describe('SeccompCompiler', () => {
  const counting = () => {
    const compiled: string[] = [];
    return {
      compiled,
      compileSeccomp: (json: string) => {
        compiled.push(json);
        return native.compileSeccomp(json);
      },
    };
  };

  test('compiles once for all who ask for the same, in memory and in files', async () => {
    const cache = join(directory, 'cache');
    const first = counting();
    const compiler = new SeccompCompiler(first, { directory: cache });
    const programs = await Promise.all(
      Array.from({ length: 5 }, () => compiler.filter('default', ['CAP_CHOWN'])),
    );
    expect(first.compiled).toHaveLength(1);
    const second = counting();
    const kept = await new SeccompCompiler(second, { directory: cache }).filter('default', [
      'CAP_CHOWN',
    ]);
    expect(second.compiled).toHaveLength(0);
    expect(Buffer.from(kept)).toEqual(Buffer.from(programs[0] as Uint8Array));
    await compiler.filter('default', ['CAP_SYS_TIME']);
    expect(first.compiled).toHaveLength(2);
    expect(readdirSync(cache)).toHaveLength(2);
  });

  test('takes no damaged file for a filter', async () => {
    const cache = join(directory, 'damaged');
    const whole = await new SeccompCompiler(native, { directory: cache }).filter('default', []);
    const path = join(cache, readdirSync(cache)[0] as string);
    truncateSync(path, 200);
    const again = counting();
    const program = await new SeccompCompiler(again, { directory: cache }).filter('default', []);
    expect(again.compiled).toHaveLength(1);
    expect(createHash('sha256').update(program).digest()).toEqual(
      createHash('sha256').update(whole).digest(),
    );
  });

  test('works where the directory cannot be made', async () => {
    const file = join(directory, 'file');
    writeFileSync(file, '');
    const compiler = new SeccompCompiler(native, { directory: join(file, 'cache') });
    expect((await compiler.filter('default', [])).length).toBeGreaterThan(0);
  });

  test('compiles a profile of the host', async () => {
    const path = join(directory, 'profile.json');
    writeFileSync(
      path,
      JSON.stringify({
        defaultAction: 'SCMP_ACT_ALLOW',
        syscalls: [{ names: ['getppid'], action: 'SCMP_ACT_ERRNO', errnoRet: 77 }],
      }),
    );
    const filter = await new SeccompCompiler(native).filter({ path }, []);
    if (x64) expect(errors(filter, ['110', '39', '900'])).toEqual([77, 0, ENOSYS]);
  });

  test.each([
    ['missing', undefined, /ENOENT/],
    ['no-json', '{', /JSON/],
    ['no-object', '3', /object/],
    ['docker', '{"defaultAction":"SCMP_ACT_ALLOW","archMap":[{}]}', /Docker/],
    [
      'docker-rule',
      '{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["bpf"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_BPF"]}}]}',
      /Docker/,
    ],
    ['action', '{"defaultAction":"SCMP_ACT_PERHAPS"}', /SCMP_ACT_PERHAPS/],
  ])('refuses a profile that is wrong: %s', async (name, content, message) => {
    const path = join(directory, `wrong-${name}`);
    if (content !== undefined) writeFileSync(path, content);
    expect(existsSync(path)).toBe(content !== undefined);
    await expect(new SeccompCompiler(native).filter({ path }, [])).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(message),
    });
  });

  test('refuses a device as a profile', async () => {
    await expect(new SeccompCompiler(native).filter({ path: '/dev/zero' }, [])).rejects.toThrow(
      /regular file/,
    );
  });
});
