import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'vitest';
import { loadNative, type NativeBinding } from '../../src/native.js';
import { RecordStore } from '../../src/record-store.js';
import { CniNetwork } from '../../src/sandbox/cni/cni-network.js';
import { BridgeNetwork } from '../../src/sandbox/network.js';
import { type AsyncExport, name, onHost } from '../fixtures/network-namespaces.js';
import { describePodNetwork, type PodNetworkRig } from '../suites/pod-network.js';

const PLUGINS = '/usr/lib/cni';

/** The addon as it works on a machine whose network is the namespace `host`. */
const nativeOnHost = new Proxy({} as NativeBinding, {
  get: (_, exported: AsyncExport | 'lockFile') =>
    exported === 'lockFile'
      ? loadNative().lockFile
      : async (...args: Parameters<NativeBinding[typeof exported]>) => onHost(exported, ...args),
});

function openBridge(): PodNetworkRig {
  const directory = mkdtempSync(join(tmpdir(), 'cais-pod-network-'));
  const root = join(directory, 'root');
  mkdirSync(root);
  const records = RecordStore.open(join(root, 'meta'));
  const network = () =>
    new BridgeNetwork({
      config: { root, network: { subnet: '10.97.0.0/24' } },
      native: nativeOnHost,
      records,
      machineDirectory: directory,
      hasIpv6: async () => true,
    });
  return {
    network: network(),
    again: network(),
    close: async () => {
      await records.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Debian's plugins, each of which a wrapper runs inside the namespace `host`. */
function openCni(): PodNetworkRig {
  const directory = mkdtempSync(join(tmpdir(), 'cais-pod-network-'));
  const [confDir, binDir] = [join(directory, 'net.d'), join(directory, 'bin')];
  for (const path of [confDir, binDir]) mkdirSync(path);
  for (const plugin of ['bridge', 'host-local', 'portmap', 'bandwidth', 'tuning']) {
    const script = `#!/bin/sh\nexec nsenter --net=/run/netns/${name('host')} ${PLUGINS}/${plugin}\n`;
    writeFileSync(join(binDir, plugin), script);
    chmodSync(join(binDir, plugin), 0o755);
  }
  const ranges = [[{ subnet: '10.97.0.0/24' }], [{ subnet: 'fd97::/64' }]];
  const configuration = {
    cniVersion: '0.4.0',
    cniVersions: ['0.4.0', '1.0.0'],
    name: 'cais-test',
    plugins: [
      {
        type: 'bridge',
        bridge: 'cni-test',
        isGateway: true,
        ipMasq: true,
        hairpinMode: true,
        ipam: { type: 'host-local', ranges, routes: [{ dst: '0.0.0.0/0' }], dataDir: directory },
      },
      { type: 'portmap', capabilities: { portMappings: true } },
      { type: 'bandwidth', capabilities: { bandwidth: true } },
      { type: 'tuning', sysctl: { 'net.core.somaxconn': '500' } },
    ],
  };
  writeFileSync(join(confDir, '10-test.conflist'), JSON.stringify(configuration));
  const records = RecordStore.open(join(directory, 'meta'));
  const config = { confDir, binDirs: [binDir], timeoutMs: 30_000 };
  const network = () => new CniNetwork({ config, native: loadNative(), records });
  return {
    network: network(),
    again: network(),
    close: async () => {
      await records.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

describePodNetwork('built-in network', openBridge);

if (existsSync(join(PLUGINS, 'bridge'))) describePodNetwork('CNI network', openCni);
else test.skip('CNI network: run "npm run setup test" for Debian\'s plugins', () => undefined);
