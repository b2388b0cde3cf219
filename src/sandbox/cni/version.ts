/** Versions of the CNI specification that we speak, oldest first. */
export const CNI_VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type CniVersion = (typeof CNI_VERSIONS)[number];

/** The newest version among `offered` that we speak too. */
export function chooseVersion(offered: readonly string[]): CniVersion | undefined {
  return CNI_VERSIONS.filter((version) => offered.includes(version)).at(-1);
}

export function isAtLeast(version: CniVersion, other: CniVersion): boolean {
  return CNI_VERSIONS.indexOf(version) >= CNI_VERSIONS.indexOf(other);
}
