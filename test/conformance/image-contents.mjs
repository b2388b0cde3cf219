import {
  chmodSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  realpathSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { tarDirectory } from '../../scripts/busybox-tar.mjs';
import { runCommand } from './command.mjs';

/** Debian packages that hold every program and library of the test images. */
export const PACKAGES = [
  'busybox',
  'libc6',
  'nginx',
  'libcrypt1',
  'libpcre2-8-0',
  'libssl3',
  'zlib1g',
];

const MACHINES = /** @type {Readonly<Record<string, { triplet: string, loader: string }>>} */ ({
  x64: { triplet: 'x86_64-linux-gnu', loader: 'lib64/ld-linux-x86-64.so.2' },
  arm64: { triplet: 'aarch64-linux-gnu', loader: 'lib/ld-linux-aarch64.so.1' },
});

const PASSWD = `root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/sh
`;
const GROUP = `root:x:0:
www-data:x:33:
nogroup:x:65534:
`;

/**
 * Tars of the layers that the test images are put together from.
 * @typedef {object} LayerTars
 * @property {Buffer} busybox a small system; every other layer but `pause` lies on it
 * @property {Buffer} nginx nginx on port 80
 * @property {Buffer} hostNetwork its configuration for port 12003 in place of 80
 * @property {Buffer} httpd a program that says "httpd" and becomes nginx
 * @property {Buffer} predefinedGroup users and groups for the supplemental group policies
 * @property {Buffer} noNewPrivileges a set-user-ID program
 * @property {Buffer} pause nothing but /pause
 * @property {(name: string) => Buffer} emptyFile one empty file in the root, so that images differ
 */

/**
 * @param {object} places
 * @param {string} places.packages where {@link PACKAGES} are unpacked
 * @param {string} places.sources directory of the C programs
 * @param {string} places.work private directory for the trees
 * @returns {Promise<LayerTars>}
 */
export async function makeLayerTars({ packages, sources, work }) {
  /** @type {(name: string, fill: (root: string) => Promise<void> | void) => Promise<Buffer>} */
  const layer = async (name, fill) => {
    const root = join(work, name);
    mkdirSync(root, { mode: 0o755 });
    await fill(root);
    // No date but the tar's own: the digests depend on the contents alone.
    return tarDirectory(root, ['--owner=0', '--group=0', '--mtime=@1767225600']);
  };
  return {
    busybox: await layer('busybox', (root) => fillBusybox(root, packages)),
    nginx: await layer('nginx', (root) => fillNginx(root, packages)),
    hostNetwork: await layer('host-network', (root) => write(root, NGINX_CONF, nginxConf(12003))),
    httpd: await layer('httpd', (root) =>
      write(
        root,
        'usr/local/bin/httpd-foreground',
        '#!/bin/sh\necho "httpd -D FOREGROUND"\nexec /usr/sbin/nginx -g "daemon off;"\n',
        0o755,
      ),
    ),
    predefinedGroup: await layer('predefined-group', (root) => {
      write(root, 'etc/passwd', `${PASSWD}default-user:x:1000:1000::/home/default-user:/bin/sh\n`);
      write(
        root,
        'etc/group',
        `${GROUP}default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n`,
      );
    }),
    noNewPrivileges: await layer('no-new-privileges', async (root) => {
      await compile(join(sources, 'effective_uid.c'), join(root, 'nnp'));
      chmodSync(join(root, 'nnp'), 0o4755);
    }),
    pause: await layer('pause', (root) => compile(join(sources, 'pause.c'), join(root, 'pause'))),
    emptyFile: (name) => {
      const root = join(work, `empty-file-${name}`);
      mkdirSync(root, { mode: 0o755 });
      write(root, name, '');
      return tarDirectory(root, ['--owner=0', '--group=0', '--mtime=@1767225600']);
    },
  };
}

/**
 * Debian's dynamic busybox: the static one has its applets built into the shell, which then runs `ls` where /bin/ls is masked.
 * @param {string} root
 * @param {string} packages
 */
async function fillBusybox(root, packages) {
  for (const name of [
    'bin',
    'dev',
    'etc',
    'home',
    'mnt',
    'proc',
    'root',
    'run',
    'sys',
    'var/lib',
    'var/run',
  ]) {
    mkdirSync(join(root, name), { recursive: true, mode: 0o755 });
  }
  mkdirSync(join(root, 'tmp'));
  chmodSync(join(root, 'tmp'), 0o1777);
  copy(join(packages, 'bin/busybox'), join(root, 'bin/busybox'));
  copyLibraries(root, packages, ['libc.so.6', 'libresolv.so.2']);
  const { loader } = machine();
  copy(join(packages, loader), join(root, loader));
  const { stdout } = await runCommand(['chroot', root, '/bin/busybox', '--list']);
  for (const applet of stdout.trim().split('\n')) {
    // Hard links: whoever masks /bin/ls through a symbolic link masks busybox.
    if (applet !== 'busybox') linkSync(join(root, 'bin/busybox'), join(root, 'bin', applet));
  }
  // Two that Debian leaves out of its busybox.
  if (!existsSync(join(root, 'bin/pgrep'))) {
    write(root, 'bin/pgrep', '#!/bin/sh\npidof "$1"\n', 0o755);
  }
  if (!existsSync(join(root, 'bin/ipcs'))) {
    write(root, 'bin/ipcs', '#!/bin/sh\ncat /proc/sysvipc/shm\n', 0o755);
  }
  write(root, 'etc/passwd', PASSWD);
  write(root, 'etc/group', GROUP);
}

const NGINX_CONF = 'etc/nginx/nginx.conf';

/**
 * @param {string} root
 * @param {string} packages
 */
function fillNginx(root, packages) {
  copy(join(packages, 'usr/sbin/nginx'), join(root, 'usr/sbin/nginx'));
  copyLibraries(root, packages, [
    'libcrypt.so.1',
    'libpcre2-8.so.0',
    'libssl.so.3',
    'libcrypto.so.3',
    'libz.so.1',
  ]);
  for (const name of ['var/log/nginx', 'var/lib/nginx/body']) {
    mkdirSync(join(root, name), { recursive: true, mode: 0o755 });
  }
  write(root, NGINX_CONF, nginxConf(80));
  write(root, 'usr/share/nginx/html/index.html', '<!doctype html>\n<title>nginx</title>\n');
}

/** @param {number} port */
function nginxConf(port) {
  return `user www-data;
worker_processes 1;
pid /var/run/nginx.pid;
error_log /dev/stderr;
events {}
http {
  access_log /dev/stdout;
  server {
    listen ${port};
    root /usr/share/nginx/html;
  }
}
`;
}

/** @param {string} source @param {string} program */
async function compile(source, program) {
  await runCommand(['cc', '-O2', '-Wall', '-Wextra', '-static', '-s', '-o', program, source]);
  chmodSync(program, 0o755);
}

/**
 * @param {string} root
 * @param {string} packages
 * @param {readonly string[]} names
 */
function copyLibraries(root, packages, names) {
  const { triplet } = machine();
  for (const name of names) {
    const places = [`lib/${triplet}/${name}`, `usr/lib/${triplet}/${name}`];
    const place = places.find((path) => existsSync(join(packages, path)));
    if (!place) throw new Error(`None of the Debian packages ${PACKAGES.join(', ')} has ${name}`);
    copy(join(packages, place), join(root, 'lib', triplet, name));
  }
}

function machine() {
  const found = MACHINES[process.arch];
  if (!found) throw new Error(`The test images cannot be made on ${process.arch}`);
  return found;
}

/** Copies what a symbolic link means. @param {string} from @param {string} to */
function copy(from, to) {
  mkdirSync(dirname(to), { recursive: true, mode: 0o755 });
  copyFileSync(realpathSync(from), to);
  chmodSync(to, 0o755);
}

/** @param {string} root @param {string} path @param {string} text @param {number} [mode] */
function write(root, path, text, mode = 0o644) {
  mkdirSync(dirname(join(root, path)), { recursive: true, mode: 0o755 });
  writeFileSync(join(root, path), text);
  chmodSync(join(root, path), mode);
}
