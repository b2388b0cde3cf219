import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../../src/errors.js';
import type { PortMapping } from '../../src/runtime/sandbox-config.js';
import { exclude, hostPortsOf, kernelPorts } from '../../src/sandbox/host-ports.js';
import { ipv6Address, uniqueLocalSubnet } from '../../src/sandbox/ipv6.js';

const web: PortMapping = { protocol: 'tcp', hostPort: 8080, containerPort: 80 };

describe('hostPortsOf()', () => {
  test('leaves out what asks for no port of the node', () => {
    expect(hostPortsOf(undefined)).toEqual([]);
    expect(hostPortsOf([web, { ...web, hostPort: 0 }, { ...web, hostPort: 0 }])).toEqual([web]);
  });

  test.each([
    { ...web, hostPort: 65_536 },
    { ...web, hostPort: -1 },
    { ...web, hostPort: 1.5 },
    { ...web, containerPort: 0 },
    { ...web, hostIp: 'localhost' },
    { ...web, hostIp: 'fe80::1%eth0' },
    { ...web, protocol: 'icmp' as 'tcp' },
  ])('refuses %j', (mapping) => {
    expect(() => hostPortsOf([mapping])).toThrow(InvalidArgumentError);
  });

  test('refuses two mappings of one pod that exclude each other', () => {
    expect(() => hostPortsOf([web, { ...web, containerPort: 81, hostIp: '::1' }])).toThrow(
      'host port 8080/tcp of ::1',
    );
    hostPortsOf([web, { ...web, protocol: 'udp' }, { ...web, hostPort: 8081 }]);
  });
});

describe('exclude()', () => {
  const bound = (hostIp?: string): PortMapping => (hostIp === undefined ? web : { ...web, hostIp });

  test.each([
    [undefined, undefined, true],
    [undefined, '127.0.0.1', true],
    ['', '::1', true],
    ['0.0.0.0', '127.0.0.1', true],
    ['0.0.0.0', '::', false],
    ['0.0.0.0', '::1', false],
    ['127.0.0.1', '127.0.0.2', false],
    ['::1', '0:0:0:0:0:0:0:1', true],
    ['2001:DB8::1', '2001:db8:0::1', true],
  ])('%j and %j: %j', (one, other, expected) => {
    expect(exclude(bound(one), bound(other))).toBe(expected);
    expect(exclude(bound(other), bound(one))).toBe(expected);
  });

  test('mappings that exclude each other are those with an element of the kernel in common', () => {
    const ip = fc.constantFrom(undefined, '', '0.0.0.0', '::', '127.0.0.1', '::1', '192.0.2.1');
    const mapping = fc.record({
      protocol: fc.constantFrom('tcp', 'udp', 'sctp'),
      hostPort: fc.integer({ min: 1, max: 3 }),
      containerPort: fc.constant(80),
      hostIp: ip,
    }) as fc.Arbitrary<PortMapping>;
    const keys = (one: PortMapping) =>
      kernelPorts([one], { ip: '10.0.0.2', ip6: 'fd00::2' }).map(
        ({ protocol, hostIp, hostPort, podIp }) => ({
          port: `${protocol} ${hostPort} ${podIp}`,
          hostIp,
        }),
      );
    fc.assert(
      fc.property(mapping, mapping, (one, other) => {
        const meet = keys(one).some((a) =>
          keys(other).some(
            (b) =>
              a.port === b.port &&
              (a.hostIp === undefined || b.hostIp === undefined || a.hostIp === b.hostIp),
          ),
        );
        expect(exclude(one, other)).toBe(meet);
      }),
    );
  });
});

describe('kernelPorts()', () => {
  test('has an element for each family in which the pod has an address', () => {
    const pod = { ip: '10.0.0.2', ip6: 'fd00::2' };
    const element = { protocol: 6, hostPort: 8080, podPort: 80 };
    expect(kernelPorts([web], pod)).toEqual([
      { ...element, podIp: '10.0.0.2' },
      { ...element, podIp: 'fd00::2' },
    ]);
    expect(kernelPorts([web], { ip: '10.0.0.2' })).toHaveLength(1);
    expect(kernelPorts([{ ...web, protocol: 'sctp', hostIp: '::1' }], pod)).toEqual([
      { ...element, protocol: 132, hostIp: '::1', podIp: 'fd00::2' },
    ]);
    expect(kernelPorts([{ ...web, hostIp: '::' }], pod)).toEqual([
      { ...element, podIp: 'fd00::2' },
    ]);
  });
});

describe('uniqueLocalSubnet(), ipv6Address()', () => {
  test('make addresses as the kernel writes them', () => {
    const subnet = uniqueLocalSubnet(Buffer.from([0x12, 0x34, 0x56, 0x00, 0x9a]));
    expect(subnet).toBe('fd12:3456:9a::/64');
    expect(ipv6Address(subnet, 1)).toBe('fd12:3456:9a::1');
    expect(ipv6Address(subnet, 0x2_0001)).toBe('fd12:3456:9a::2:1');
    expect(uniqueLocalSubnet(Buffer.from([0x12, 0x34, 0x56, 0, 0]))).toBe('fd12:3456::/64');
    expect(uniqueLocalSubnet(Buffer.from([0x12, 0, 0, 0, 0]))).toBe('fd12::/64');
    expect(uniqueLocalSubnet(Buffer.from([0x12, 0, 0, 0, 0x10]))).toBe('fd12:0:10::/64');
    const byte = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(
        fc.array(byte, { minLength: 5, maxLength: 5 }),
        fc.integer({ min: 1, max: 2 ** 24 }),
        (random, offset) => {
          const address = ipv6Address(uniqueLocalSubnet(Buffer.from(random)), offset);
          expect(new URL(`http://[${address}]`).hostname.slice(1, -1)).toBe(address);
        },
      ),
    );
  });
});
