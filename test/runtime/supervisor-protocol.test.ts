import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ProtocolError, RecordReader, RecordWriter } from '../../src/runtime/record-codec.js';
import { decodeStatus } from '../../src/runtime/supervisor-answers.js';
import {
  ContainerState,
  encodeLaunchSpec,
  encodeSandboxSpec,
  FrameType,
  LaunchKind,
  OnOwnerExit,
  PidNamespace,
  PROTOCOL_VERSION,
  StdinMode,
} from '../../src/runtime/supervisor-protocol.js';

const HEADER = readFileSync(new URL('../../native/supervisor/protocol.h', import.meta.url), 'utf8');

/** Enumerators of one enum of protocol.h, names without the `k`, in lower case without separators. */
function enumerators(name: string): Record<string, number> {
  const body = new RegExp(`enum class ${name} : \\w+ \\{([^}]*)\\}`).exec(HEADER)?.[1] ?? '';
  const pairs = [...body.matchAll(/k(\w+) = (0x[0-9a-f]+|\d+)/g)];
  return Object.fromEntries(pairs.map(([, key = '', value]) => [key.toLowerCase(), Number(value)]));
}

function normalised(names: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(names).map(([key, value]) => [key.replaceAll('_', '').toLowerCase(), value]),
  );
}

describe('supervisor-protocol.ts and protocol.h', () => {
  it.each([
    ['FrameType', FrameType],
    ['LaunchKind', LaunchKind],
    ['ContainerState', ContainerState],
    ['StdinMode', StdinMode],
    ['PidNamespace', PidNamespace],
    ['OnOwnerExit', OnOwnerExit],
  ])('%s has the same names and numbers in both', (name, names) => {
    expect(normalised(names)).toEqual(enumerators(name));
  });

  it('have the same version', () => {
    expect(HEADER).toContain(`kProtocolVersion = ${PROTOCOL_VERSION};`);
  });

  it('encodeLaunchSpec() writes every field of LaunchField', () => {
    const record = new RecordReader(
      encodeLaunchSpec({
        id: 'a',
        kind: 'exec',
        arguments: ['x'],
        environment: ['A=b'],
        workingDirectory: '/',
        terminal: true,
        windowSize: { rows: 1, columns: 2 },
        stdin: 'pipe',
        stdioFds: true,
        log: { directory: '/l', path: 'p' },
        uid: 1,
        gid: 2,
        groups: [3],
        umask: 0o22,
        rootReadonly: true,
        mounts: [
          {
            type: 'bind',
            destination: '/d',
            source: '/s',
            flags: 1,
            propagation: 1,
            data: 'd',
            recursiveReadonly: true,
            sourceFd: 0,
            subPath: 'p',
            idMaps: {
              uids: [{ containerId: 0, hostId: 1, length: 2 }],
              gids: [{ containerId: 0, hostId: 1, length: 2 }],
            },
          },
        ],
        devices: [{ path: '/dev/x', type: 'c', major: 1, minor: 2, mode: 3, uid: 4, gid: 5 }],
        maskedPaths: ['/m'],
        readonlyPaths: ['/r'],
        rlimits: [{ resource: 7, soft: 1, hard: -1 }],
        oomScoreAdj: 5,
        capabilities: {
          bounding: 1n,
          effective: 1n,
          permitted: 1n,
          inheritable: 0n,
          ambient: 0n,
        },
        noNewPrivileges: true,
        seccomp: { filter: new Uint8Array(8), flags: 0 },
        cgroups: ['/c'],
        pidNamespace: 'target',
        pidTarget: 't',
        execTarget: 'e',
        rootFd: 0,
        personality: 1,
        files: [{ destination: '/etc/hosts', content: 'x', mode: 0o644 }],
        stopSignal: 15,
        directories: ['/data'],
        forgetOnExit: true,
        ownCgroup: true,
        terminalClient: true,
        appArmorProfile: 'p',
        oci: {
          program: '/usr/sbin/runc',
          options: ['--debug'],
          root: '/run/x/oci',
          bundle: '/run/x/a',
          mounts: [{ path: '/run/x/a/volume', sourceFd: 1, subPath: 'data' }],
        },
      }),
    );
    const written = new Set(record.fields.map((field) => field.tag));
    expect(written).toEqual(new Set(Object.values(enumerators('LaunchField'))));
    const [mount] = record.records(18);
    expect(new Set(mount?.fields.map((field) => field.tag))).toEqual(
      new Set(Object.values(enumerators('MountField'))),
    );
    const [ociMount] = record.records(59);
    expect(new Set(ociMount?.fields.map((field) => field.tag))).toEqual(
      new Set(Object.values(enumerators('OciMountField'))),
    );
  });

  it('encodeSandboxSpec() writes every field of SandboxField', () => {
    const record = new RecordReader(
      encodeSandboxSpec({
        id: 'a',
        runDirectory: '/run',
        namespaces: ['net'],
        hostname: 'h',
        sysctls: { 'net.a': '1' },
        supervisorCgroups: ['/c'],
        openFiles: { soft: 1, hard: 2 },
        onOwnerExit: 'kill',
        sandboxCgroups: ['/s'],
        shmSizeBytes: 3,
        userNamespace: {
          uids: [{ containerId: 0, hostId: 1, length: 2 }],
          gids: [{ containerId: 0, hostId: 1, length: 2 }],
        },
      }),
    );
    const written = new Set(record.fields.map((field) => field.tag));
    expect(written).toEqual(new Set(Object.values(enumerators('SandboxField'))));
  });
});

describe('records', () => {
  const field = fc.record({
    tag: fc.integer({ min: 1, max: 0xffff }),
    bytes: fc.uint8Array({ maxLength: 200 }),
  });

  it('come back as they were written', () => {
    fc.assert(
      fc.property(fc.array(field), (fields) => {
        const writer = new RecordWriter();
        for (const { tag, bytes } of fields) writer.bytes(tag, bytes);
        const read = new RecordReader(writer.finish()).fields;
        expect(read.map(({ tag, bytes }) => ({ tag, bytes: new Uint8Array(bytes) }))).toEqual(
          fields,
        );
      }),
    );
  });

  it('keep every signed 64-bit number and every string', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        fc.string({ unit: 'grapheme' }).filter((text) => !text.includes('\0')),
        (value, text) => {
          const record = new RecordReader(
            new RecordWriter().number(1, value).string(2, text).finish(),
          );
          expect(record.bigint(1)).toBe(value);
          expect(record.string(2)).toBe(text);
          record.done();
        },
      ),
    );
  });

  it('that are arbitrary bytes are read or refused by ProtocolError, never otherwise', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        try {
          decodeStatus(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
        }
      }),
    );
  });

  it('refuse NUL bytes, lone surrogates and numbers past 64 bits', () => {
    expect(() => new RecordWriter().string(1, 'a\0b')).toThrow(ProtocolError);
    expect(() => new RecordWriter().string(1, '\ud800')).toThrow(ProtocolError);
    expect(() => new RecordWriter().number(1, 2n ** 63n)).toThrow(ProtocolError);
    expect(() => new RecordWriter().number(1, 0.5)).toThrow(ProtocolError);
  });

  it('with an unknown field are refused below 0x8000 and read from there on', () => {
    expect(() => new RecordReader(new RecordWriter().number(9, 1).finish()).done()).toThrow(
      'Unknown field 9',
    );
    new RecordReader(new RecordWriter().number(0x8000, 1).finish()).done();
  });
});
