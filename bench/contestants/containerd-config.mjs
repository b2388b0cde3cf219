/**
 * What a containerd can be told, read from its own `containerd config default`.
 * @typedef {object} ContainerdFeatures
 * @property {number} configVersion
 * @property {boolean} erofs it has the erofs snapshotter and differ
 * @property {boolean} concurrentUnpacks its transfer service can unpack several layers at once
 *
 * @typedef {object} ContainerdConfigOptions
 * @property {ContainerdFeatures} features
 * @property {'overlayfs' | 'erofs'} snapshotter
 * @property {string} root where content and snapshots lie
 * @property {string} platform `linux/amd64`
 */

/** Layers unpacked at once where containerd can; the benchmark gives it as many as it downloads by default. */
const CONCURRENT_UNPACKS = 3;

/**
 * @param {string} defaults what `containerd config default` printed
 * @returns {ContainerdFeatures}
 */
export function readFeatures(defaults) {
  return {
    configVersion: Number(/^version = (\d+)$/m.exec(defaults)?.[1] ?? 2),
    erofs: defaults.includes('io.containerd.differ.v1.erofs'),
    concurrentUnpacks: defaults.includes('max_concurrent_unpacks'),
  };
}

/**
 * A config.toml: the defaults but for places and, with erofs, what containerd's documentation recommends for the speed of unpacking.
 * @param {ContainerdConfigOptions} options
 * @see containerd, docs/snapshotters/erofs.md
 */
export function containerdConfig({ features, snapshotter, root, platform }) {
  const { configVersion, concurrentUnpacks } = features;
  const lines = [
    `version = ${configVersion}`,
    `root = "${root}"`,
    'state = "/run/containerd"',
    // The root file system is read-only in the enclosure.
    '[plugins."io.containerd.internal.v1.opt"]',
    '  path = "/run/containerd-opt"',
  ];
  if (configVersion >= 3 && (snapshotter === 'erofs' || concurrentUnpacks)) {
    lines.push('[plugins."io.containerd.transfer.v1.local"]');
    if (concurrentUnpacks) lines.push(`  max_concurrent_unpacks = ${CONCURRENT_UNPACKS}`);
  }
  if (snapshotter === 'erofs') {
    lines.push(
      '  [[plugins."io.containerd.transfer.v1.local".unpack_config]]',
      '    differ = "erofs"',
      `    platform = "${platform}"`,
      '    snapshotter = "erofs"',
      '[plugins."io.containerd.service.v1.diff-service"]',
      '  default = ["erofs", "walking"]',
      '[plugins."io.containerd.differ.v1.erofs"]',
      '  mkfs_options = ["-T0", "--mkfs-time", "--sort=none"]',
    );
  }
  return `${lines.join('\n')}\n`;
}
