import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** @typedef {import('./runtimes.mjs').RuntimePlaces} RuntimePlaces */

/**
 * Debian's containerd with a state of its own: what checks that the images and the runner are right, by a runtime that is known to be.
 * @param {RuntimePlaces} places
 * @returns {string[]} its command
 */
export function containerdCommand({ directory, socket, mirrors }) {
  const network = join(directory, 'net.d');
  mkdirSync(network, { recursive: true });
  writeFileSync(join(network, '10-bridge.conflist'), JSON.stringify(bridgeNetwork(directory)));
  const configPath = join(directory, 'containerd.toml');
  writeFileSync(
    configPath,
    `version = 2
root = "${directory}/root"
state = "${directory}/state"
[grpc]
  address = "${socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "${directory}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.9"
  # Without CAP_SYS_RESOURCE nobody may lower the score of the pause process.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "${network}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "${mirrors}"
`,
  );
  return ['containerd', '--config', configPath, '--log-level', 'warn'];
}

/** @param {string} directory */
function bridgeNetwork(directory) {
  return {
    cniVersion: '0.4.0',
    name: 'conformance',
    plugins: [
      {
        type: 'bridge',
        bridge: 'cni0',
        isGateway: true,
        ipMasq: true,
        hairpinMode: true,
        ipam: {
          type: 'host-local',
          dataDir: join(directory, 'addresses'),
          ranges: [[{ subnet: '10.89.0.0/16' }]],
          routes: [{ dst: '0.0.0.0/0' }],
        },
      },
      { type: 'portmap', capabilities: { portMappings: true } },
    ],
  };
}
