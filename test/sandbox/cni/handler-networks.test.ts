import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Config } from '../../../src/config.js';
import { RecordStore } from '../../../src/record-store.js';
import { CniNetwork } from '../../../src/sandbox/cni/cni-network.js';

const directory = mkdtempSync(join(tmpdir(), 'cais-handler-networks-'));
let records: RecordStore;

beforeAll(() => {
  records = RecordStore.open(join(directory, 'meta'));
  for (const name of ['common', 'own']) {
    mkdirSync(join(directory, name));
    const list = { cniVersion: '1.0.0', name, plugins: [{ type: 'bridge' }] };
    writeFileSync(join(directory, name, '10.conflist'), JSON.stringify(list));
  }
});
afterAll(async () => {
  await records.close();
  rmSync(directory, { recursive: true });
});

function network(defaultHandler: string): CniNetwork {
  const handlers: Config['handlers'] = {
    native: { type: 'native' },
    own: { type: 'oci', path: '/usr/sbin/runc', cniConfDir: join(directory, 'own') },
    builtin: { type: 'native', cniConfDir: '' },
  };
  return new CniNetwork({
    config: { confDir: join(directory, 'common'), binDirs: ['/nowhere'], timeoutMs: 1000 },
    handlers,
    defaultHandler,
    native: { setLoopbackUp: async () => undefined },
    records,
  });
}

test.each([
  ['native', undefined, 'common'],
  ['native', 'native', 'common'],
  ['native', 'own', 'own'],
  ['native', 'builtin', undefined],
  ['own', undefined, 'own'],
  ['own', '', 'own'],
  ['own', 'native', 'common'],
])(
  'with the default handler %s, pods of %s are on the network %s',
  async (defaultHandler, handler, expected) => {
    const { network: found, problems } = await network(defaultHandler).configuration(handler);
    expect(found?.name).toBe(expected);
    expect(problems).toEqual([]);
  },
);
