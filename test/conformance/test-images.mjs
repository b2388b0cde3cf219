/** @typedef {import('./image-contents.mjs').LayerTars} LayerTars */

/**
 * One image, and the repositories and tags that it is known by.
 * @typedef {object} TestImage
 * @property {readonly string[]} names `<repository>:<tag>`, without a registry
 * @property {readonly Buffer[]} layers lowest first
 * @property {Readonly<Record<string, unknown>>} config section `config` of the image configuration
 */

/** Registries whose names critest uses; all of them lead to the one on loopback. */
export const MIRRORED_REGISTRIES = ['registry.k8s.io', 'k8s.gcr.io', 'gcr.io', 'public.ecr.aws'];

const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const E2E = 'e2e-test-images';
const STAGING = 'k8s-staging-cri-tools';
const ARCHITECTURE = process.arch === 'x64' ? 'amd64' : process.arch;

/**
 * The images that critest asks for by fixed names.
 * @param {LayerTars} tars
 * @returns {TestImage[]}
 * @see sigs.k8s.io/cri-tools, pkg/validate/consts.go
 */
export function testImages(tars) {
  const shell = { Env: [PATH], Cmd: ['sh'] };
  const server = { Env: [PATH], Cmd: ['nginx', '-g', 'daemon off;'] };
  /** @type {(name: string, ...names: string[]) => TestImage} */
  const distinct = (name, ...names) => ({
    names: [name, ...names].map((each) => `${STAGING}/${each}`),
    layers: [tars.busybox, tars.emptyFile(name.replaceAll(/[:/]/g, '-'))],
    config: shell,
  });
  /** @type {(name: string, user: string) => TestImage} */
  const ofUser = (name, user) => ({
    names: [`${STAGING}/test-image-user-${name}:latest`],
    layers: [tars.busybox],
    config: { ...shell, User: user },
  });
  return [
    {
      names: [`${E2E}/busybox:1.29-2`],
      layers: [tars.busybox],
      config: shell,
    },
    { names: [`${E2E}/nginx:1.14-2`], layers: [tars.busybox, tars.nginx], config: server },
    {
      names: [`${STAGING}/hostnet-nginx-${ARCHITECTURE}:latest`],
      layers: [tars.busybox, tars.nginx, tars.hostNetwork],
      config: server,
    },
    {
      names: [`${E2E}/httpd:2.4.39-4`],
      layers: [tars.busybox, tars.nginx, tars.httpd],
      config: { Env: [PATH], Cmd: ['httpd-foreground'] },
    },
    {
      names: [`${E2E}/nonewprivs:1.3`],
      layers: [tars.busybox, tars.noNewPrivileges],
      config: { Env: [PATH], Entrypoint: ['/nnp'] },
    },
    {
      names: ['pause:3.9'],
      layers: [tars.pause],
      config: { Env: [PATH], User: '65535:65535', Entrypoint: ['/pause'] },
    },
    distinct('test-image-latest:latest'),
    distinct('test-image-tag:test'),
    distinct('test-image-tag:all'),
    distinct('test-image-1:latest'),
    distinct('test-image-2:latest'),
    distinct('test-image-3:latest'),
    distinct('test-image-tags:1', 'test-image-tags:2', 'test-image-tags:3'),
    ofUser('uid', '1002'),
    ofUser('username', 'www-data'),
    ofUser('uid-group', '1003:1004'),
    ofUser('username-group', 'www-data:1004'),
    {
      names: [`${STAGING}/test-image-predefined-group:latest`],
      layers: [tars.busybox, tars.predefinedGroup],
      config: { ...shell, User: '1000' },
    },
    {
      names: ['1.35.0-glibc', '1-uclibc', '1', '1-glibc', '1-musl'].map(
        (tag) => `docker/library/busybox:${tag}`,
      ),
      layers: [tars.busybox, tars.emptyFile('benchmark')],
      config: shell,
    },
  ];
}
