import { expect, it } from 'vitest';
import { resolvConf } from '../../src/sandbox/dns.js';
import { hostsFile } from '../../src/sandbox/hosts-file.js';

it("hostsFile() has the kubelet's lines, the pod and its aliases", () => {
  expect(
    hostsFile({
      hostname: 'web',
      ip: '10.88.0.2',
      hostAliases: [{ ip: '10.1.2.3', hostnames: ['foo.local', 'bar.local'] }],
    }),
  ).toBe(
    [
      '# Kubernetes-managed hosts file.',
      '127.0.0.1\tlocalhost',
      '::1\tlocalhost ip6-localhost ip6-loopback',
      'fe00::0\tip6-localnet',
      'fe00::0\tip6-mcastprefix',
      'fe00::1\tip6-allnodes',
      'fe00::2\tip6-allrouters',
      '10.88.0.2\tweb',
      '',
      '# Entries added by HostAliases.',
      '10.1.2.3\tfoo.local\tbar.local',
      '',
    ].join('\n'),
  );
});

it("hostsFile() starts from the node's file with the host's network", () => {
  const text = hostsFile({
    hostname: 'node',
    ip: undefined,
    hostAliases: [],
    nodeFile: '127.0.0.1 node\n',
  });
  expect(text).toBe('# Kubernetes-managed hosts file (host network).\n127.0.0.1 node\n');
});

it("resolvConf() writes what the pod asks for, else the node's file", () => {
  expect(resolvConf(undefined, 'nameserver 9.9.9.9\n')).toBe('nameserver 9.9.9.9\n');
  expect(
    resolvConf({ servers: ['1.1.1.1'], searches: ['a.b', 'c'], options: ['ndots:5'] }, ''),
  ).toBe('search a.b c\nnameserver 1.1.1.1\noptions ndots:5\n');
  expect(() => resolvConf({ servers: ['1.1.1.1\n'], searches: [] }, '')).toThrow('DNS setting');
});
