import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { NativeError } from '../../src/errors.js';
import { loadNative } from '../../src/native.js';

const native = loadNative();

describe('closeOnExecAll()', () => {
  test('marks every descriptor above 2', () => {
    native.closeOnExecAll();
    const child = readFileSync('/proc/self/fdinfo/0', 'utf8');
    expect(child).toContain('flags:');
    for (const fd of [3, 4, 5, 6]) {
      let info: string;
      try {
        info = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
      } catch {
        continue; // not open
      }
      const flags = Number.parseInt(/^flags:\s*(\d+)/m.exec(info)?.[1] ?? '', 8);
      expect(flags & 0o2000000, readlinkSync(`/proc/self/fd/${fd}`)).not.toBe(0);
    }
  });
});

describe('openFilesLimit()', () => {
  test('reads the limits of another process', async () => {
    const child = spawn('sh', ['-c', 'ulimit -n 321; echo ready; read line'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    expect(native.openFilesLimit(child.pid as number)).toEqual({ soft: 321, hard: 321 });
    child.stdin.end();
    await new Promise((resolve) => child.once('exit', resolve));
  });

  test('names the process that does not exist', () => {
    expect(() => native.openFilesLimit(2 ** 22 + 1)).toThrow(
      expect.objectContaining({ code: 'ESRCH', path: String(2 ** 22 + 1) }),
    );
  });
});

describe('spawnSupervisor()', () => {
  const spec = new Uint8Array();

  test('says which executable is missing', async () => {
    const spawned = native.spawnSupervisor({ executable: '/nonexistent', spec, timeoutMs: 5000 });
    await expect(spawned).rejects.toBeInstanceOf(NativeError);
    await expect(spawned).rejects.toMatchObject({ code: 'ENOENT', path: '/nonexistent' });
  });

  test('fails when the program ends without an answer', async () => {
    await expect(
      native.spawnSupervisor({ executable: '/bin/true', spec, timeoutMs: 5000 }),
    ).rejects.toMatchObject({ code: 'BAD_ANSWER' });
  });

  test('refuses wrong arguments with the name of the field', () => {
    expect(() => native.spawnSupervisor({ executable: '/bin/true', spec, timeoutMs: 0.5 })).toThrow(
      new TypeError('options.timeoutMs: expected an integer from 1 to 2147483647'),
    );
  });
});

describe('compileSeccomp()', () => {
  test('compiles a small profile to whole instructions', async () => {
    const program = await native.compileSeccomp(
      JSON.stringify({
        defaultAction: 'SCMP_ACT_ERRNO',
        architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86'],
        syscalls: [{ names: ['read', 'write', 'no_such_call'], action: 'SCMP_ACT_ALLOW' }],
      }),
    );
    expect(program.length).toBeGreaterThan(8);
    expect(program.length % 8).toBe(0);
  });

  test.each([
    ['action', { defaultAction: 'SCMP_ACT_MAYBE' }],
    ['architecture', { defaultAction: 'SCMP_ACT_ERRNO', architectures: ['SCMP_ARCH_Z80'] }],
    [
      'comparison',
      {
        defaultAction: 'SCMP_ACT_ERRNO',
        syscalls: [
          {
            names: ['read'],
            action: 'SCMP_ACT_ALLOW',
            args: [{ index: 0, value: 1, op: 'SCMP_CMP_LIKE' }],
          },
        ],
      },
    ],
  ])('refuses an unknown %s by name', async (what, profile) => {
    await expect(native.compileSeccomp(JSON.stringify(profile))).rejects.toMatchObject({
      code: 'BAD_SECCOMP_PROFILE',
      message: expect.stringContaining(what),
    });
  });

  test('throws on text that is no JSON', () => {
    expect(() => native.compileSeccomp('{')).toThrow(SyntaxError);
  });
});

describe('spawnSupervisor() at its deadline', () => {
  test('ends everything that still holds the answer pipe', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'cais-spawn-'));
    try {
      const executable = join(directory, 'program');
      // As a supervisor that hangs after its first half has ended.
      writeFileSync(executable, `#!/bin/sh\nsleep 1000 &\necho $! > ${directory}/pid\n`, {
        mode: 0o700,
      });
      await expect(
        native.spawnSupervisor({ executable, spec: new Uint8Array(), timeoutMs: 1000 }),
      ).rejects.toMatchObject({ code: 'TIMED_OUT' });
      const pid = Number(readFileSync(join(directory, 'pid'), 'utf8'));
      await expect
        .poll(
          () =>
            existsSync(`/proc/${pid}`) && readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') S'),
        )
        .toBe(false);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test('the program has descriptors 0 to 3, no environment and no signal blocked', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'cais-spawn-'));
    try {
      const executable = join(directory, 'program');
      writeFileSync(
        executable,
        `#!/bin/sh\n/bin/ls -l /proc/$$/fd > ${directory}/fds\n/usr/bin/tr '\\0' '\\n' < /proc/$$/environ > ${directory}/environment
/bin/cat > ${directory}/spec\necho "$*" > ${directory}/arguments\n# Its own status: the shell blocks signals while it starts a program.\nexec /bin/grep Sig /proc/self/status > ${directory}/signals\n`,
        { mode: 0o700 },
      );
      await expect(
        native.spawnSupervisor({ executable, spec: Buffer.from('the spec'), timeoutMs: 20_000 }),
      ).rejects.toMatchObject({ code: 'BAD_ANSWER' });
      const read = (name: string) => readFileSync(join(directory, name), 'utf8');
      expect(read('spec')).toBe('the spec');
      expect(read('arguments')).toBe('sandbox\n');
      expect(read('environment')).toBe('');
      // The C library leaves its two internal signals (32, 33) ignored; container_init resets them.
      expect(read('signals')).toMatch(/SigBlk:\t0+\nSigIgn:\t0000000180000000\n/);
      // The shell itself opens the script and its output, and saves descriptors from 10 on.
      const fds = [...read('fds').matchAll(/ (\d+) -> (\S+)/g)].map(([, fd, to]) => `${fd} ${to}`);
      expect(fds.filter((line) => /^[023] /.test(line))).toEqual([
        expect.stringContaining('0 /memfd:cais-spec'),
        '2 /dev/null',
        expect.stringContaining('3 pipe:'),
      ]);
      expect(fds.filter((line) => !/^([0123]|1[0-9]|255) /.test(line))).toEqual([]);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
