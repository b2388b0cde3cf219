import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RuntimeError } from '../../src/errors.js';
import { resolveCdiDevices } from '../../src/runtime/cdi.js';
import { findCdiDevices, parseCdiText } from '../../src/runtime/cdi-registry.js';
import { parseCdiName, parseCdiSpec } from '../../src/runtime/cdi-spec.js';

const SPEC = {
  cdiVersion: '0.5.0',
  kind: 'vendor.example/card',
  devices: [{ name: 'a', containerEdits: { env: ['A=1'] } }],
};

describe('parseCdiSpec()', () => {
  it.each(['0.3.0', '0.3.1', '0.4.0', '0.8.1', '1.0.0', 'v0.6.0'])(
    'takes version %s',
    (version) => {
      expect(parseCdiSpec({ ...SPEC, cdiVersion: version }).devices[0]?.name).toBe('a');
    },
  );

  it.each<[object, string]>([
    [{ cdiVersion: '0.2.0' }, 'cdiVersion'],
    [{ cdiVersion: '2.0.0' }, 'cdiVersion'],
    [{ kind: 'card' }, 'kind'],
    [{ kind: 'vendor/card/x' }, 'kind'],
    [{ kind: 'vendor./card' }, 'kind'],
    [{ kind: '../card' }, 'kind'],
    [{ devices: [] }, 'devices'],
    [{ devices: [{ name: 'a' }, { name: 'a' }] }, 'appears twice'],
    [{ devices: [{ name: '../a' }] }, 'devices.0.name'],
    [{ unknown: 1 }, 'unknown'],
    [{ containerEdits: { env: ['NOVALUE'] } }, 'containerEdits.env.0'],
    [{ containerEdits: { deviceNodes: [{ path: 'dev/x' }] } }, 'containerEdits.deviceNodes.0.path'],
    [
      { containerEdits: { deviceNodes: [{ path: '/dev/x', type: 'p' }] } },
      'containerEdits.deviceNodes.0.type',
    ],
    [
      { containerEdits: { mounts: [{ hostPath: '/a', containerPath: '/b', type: 'tmpfs' }] } },
      'containerEdits.mounts.0.type',
    ],
    [{ containerEdits: { additionalGids: [2 ** 31] } }, 'containerEdits.additionalGids.0'],
  ])('refuses %j by the name of the field', (changes, field) => {
    expect(() => parseCdiSpec({ ...SPEC, ...changes })).toThrow(field);
  });

  it('keeps what it does not do by name', () => {
    const spec = parseCdiSpec({
      ...SPEC,
      containerEdits: { hooks: [{ hookName: 'x', path: '/x' }], intelRdt: { closID: 'a' } },
    });
    expect(spec.containerEdits.unsupported).toEqual(['hooks', 'intelRdt']);
    expect(
      parseCdiSpec({ ...SPEC, containerEdits: { hooks: [] } }).containerEdits.unsupported,
    ).toEqual([]);
  });
});

describe('parseCdiText()', () => {
  it('refuses any text and any JSON by an error of ours, or reads it', () => {
    const refusesByOurError = (text: string) => {
      try {
        parseCdiText(text);
      } catch (error) {
        expect(error).toBeInstanceOf(RuntimeError);
      }
    };
    fc.assert(fc.property(fc.string(), refusesByOurError));
    fc.assert(fc.property(fc.json(), refusesByOurError));
    fc.assert(
      fc.property(fc.jsonValue(), (edits) =>
        refusesByOurError(JSON.stringify({ ...SPEC, containerEdits: edits })),
      ),
    );
  });

  it('refuses a text that grows by aliases', () => {
    const levels = Array.from(
      { length: 20 },
      (_, i) => `l${i + 1}: &l${i + 1} [*l${i},*l${i},*l${i}]`,
    );
    expect(() => parseCdiText(`l0: &l0 [x]\n${levels.join('\n')}`)).toThrow(RuntimeError);
  });
});

describe('parseCdiName()', () => {
  it('takes a full name apart', () => {
    expect(parseCdiName('vendor.example/card=a:0.1')).toEqual({
      kind: 'vendor.example/card',
      device: 'a:0.1',
    });
  });

  it.each([
    '',
    'a',
    'vendor/card',
    'vendor/card=',
    '=a',
    'vendor=a',
    '../card=a',
    'v/c=-',
    'v/c=a b',
  ])('refuses %j', (name) => expect(parseCdiName(name)).toBeUndefined());
});

describe('CDI directories', () => {
  let low: string;
  let high: string;

  beforeEach(async () => {
    low = await mkdtemp(join(tmpdir(), 'cais-cdi-'));
    high = await mkdtemp(join(tmpdir(), 'cais-cdi-'));
  });
  afterEach(async () => {
    await rm(low, { recursive: true });
    await rm(high, { recursive: true });
  });
  const write = (directory: string, name: string, env: string) =>
    writeFile(
      join(directory, name),
      JSON.stringify({ ...SPEC, devices: [{ name: 'a', containerEdits: { env: [env] } }] }),
    );
  const resolve = () => resolveCdiDevices(['vendor.example/card=a'], [low, high]);

  it('that come later win', async () => {
    await write(low, 'a.json', 'FROM=low');
    await write(high, 'b.json', 'FROM=high');
    expect((await resolve()).env).toEqual(['FROM=high']);
  });

  it('that are missing count as empty; hidden and other files are not read', async () => {
    await write(low, 'a.json', 'FROM=low');
    await write(high, '.hidden.json', 'FROM=hidden');
    await write(high, 'a.txt', 'FROM=text');
    expect(await findCdiDevices(['vendor.example/card=a'], [low, '/nowhere'])).toHaveLength(1);
    expect((await resolve()).env).toEqual(['FROM=low']);
  });

  it('that describe a device twice are refused, with both files', async () => {
    await write(low, 'a.json', 'A=1');
    await write(low, 'b.yaml', 'A=2');
    await expect(resolve()).rejects.toThrow(/a\.json" and .*b\.yaml"/);
  });

  it('that hold no regular files do not hold anybody up', async () => {
    await rm(join(low, 'x.json'), { force: true });
    const { symlink } = await import('node:fs/promises');
    await symlink('/dev/zero', join(low, 'x.json'));
    await expect(resolve()).rejects.toThrow('it is no regular file');
  });

  it("bring a file's own edits once for several of its devices", async () => {
    await writeFile(
      join(low, 'a.json'),
      JSON.stringify({
        ...SPEC,
        devices: [{ name: 'a' }, { name: 'b', containerEdits: { env: ['B=1'] } }],
        containerEdits: { env: ['COMMON=1'] },
      }),
    );
    const names = ['vendor.example/card=a', 'vendor.example/card=b', 'vendor.example/card=a'];
    expect((await resolveCdiDevices(names, [low])).env).toEqual(['COMMON=1', 'B=1']);
  });
});
