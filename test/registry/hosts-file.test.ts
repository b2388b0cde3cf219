import fc from 'fast-check';
import * as toml from 'smol-toml';
import { describe, expect, it } from 'vitest';
import { HostsFileError, parseHostsFile } from '../../src/registry/hosts-file.js';

const parse = (text: string) =>
  parseHostsFile(text, { path: '/certs.d/r/hosts.toml', directory: '/certs.d/r', toml });

const refusal = (text: string): string => {
  try {
    parse(text);
  } catch (error) {
    if (error instanceof HostsFileError) return error.message;
    throw error;
  }
  return 'nothing';
};

it('reads what containerd documents', () => {
  const { mirrors, server } = parse(`
server = "https://registry-1.docker.io"
ca = "root.pem"

[host."https://public-mirror.example.com"]
  capabilities = ["pull"]
  dial_timeout = "1m30.5s"
[host."http://192.168.31.250:5000"]
  capabilities = ["Pull", "resolve", "push"]
  skip_verify = true
  ca = ["a.pem", "/etc/b.pem"]
  client = [["c.cert", "c.key"], ["d.pem", ""]]
  [host."http://192.168.31.250:5000".header]
    X-Custom-1 = ["one", "two"]
    authorization = "Basic eA=="
[host."https://harbor.example/v2/proxy/"]
  override_path = true
  client = "one.pem"
[host."plain.example/dir"]
  client = ["one.pem", "two.pem"]
`);
  expect(server).toMatchObject({
    capabilities: { pull: true, resolve: true },
    caPaths: ['/certs.d/r/root.pem'],
    skipVerify: false,
  });
  expect(server.url?.href).toBe('https://registry-1.docker.io/v2');
  expect(mirrors.map(({ url }) => url?.href)).toEqual([
    'https://public-mirror.example.com/v2',
    'http://192.168.31.250:5000/v2',
    'https://harbor.example/v2/proxy',
    'https://plain.example/dir/v2',
  ]);
  expect(mirrors[0]).toMatchObject({
    capabilities: { pull: true, resolve: false },
    dialTimeoutMs: 90_500,
  });
  expect(mirrors[1]).toMatchObject({
    capabilities: { pull: true, resolve: true },
    skipVerify: true,
    caPaths: ['/certs.d/r/a.pem', '/etc/b.pem'],
    clientPairs: [
      { certificatePath: '/certs.d/r/c.cert', keyPath: '/certs.d/r/c.key' },
      { certificatePath: '/certs.d/r/d.pem', keyPath: '/certs.d/r/d.pem' },
    ],
    headers: { 'x-custom-1': 'one, two', authorization: 'Basic eA==' },
  });
  expect(mirrors[2]?.clientPairs).toEqual([
    { certificatePath: '/certs.d/r/one.pem', keyPath: '/certs.d/r/one.pem' },
  ]);
  expect(mirrors[3]?.clientPairs).toHaveLength(2);
});

it('asks the registry itself where there is no server', () => {
  expect(parse('[host."https://m.example"]').server.url).toBeUndefined();
});

describe('refuses, naming file and key', () => {
  it.each([
    ['skip_verfy = true', 'unknown key "skip_verfy"'],
    ['[host."https://m.example"]\nserver = "x"', 'unknown key "host.https://m.example.server"'],
    ['server = 1', 'key "server": expected a string'],
    ['server = ""', 'key "server": expected an address'],
    ['server = "ftp://x"', 'key "server": expected an address'],
    ['server = "https://u:secret@x"', 'key "server": expected an address'],
    ['server = "https://x?q=1"', 'key "server": expected an address'],
    ['[host."5000"]', 'key "host.5000": expected an address'],
    ['[host."http://"]', 'key "host.http://": expected an address'],
    ['host = "x"', 'key "host": expected a table'],
    ['host.x = 1', 'key "host.x": expected a table'],
    ['capabilities = ["fly"]', 'key "capabilities": expected "pull"'],
    ['capabilities = [1]', 'key "capabilities": expected a string or a list'],
    ['ca = {}', 'key "ca": expected a string or a list'],
    ['client = [["a", "b", "c"]]', 'key "client": expected a path'],
    ['client = [[1]]', 'key "client": expected a path'],
    ['skip_verify = "yes"', 'key "skip_verify": expected true or false'],
    ['dial_timeout = "5"', 'key "dial_timeout": expected a duration'],
    ['dial_timeout = "-1s"', 'key "dial_timeout": expected a duration'],
    ['dial_timeout = "24h"', 'key "dial_timeout": expected a duration'],
    ['[header]\nhost = "x"', 'key "header": expected a header that a file may set'],
    ['[header]\n"a b" = "x"', 'key "header": expected a header that a file may set'],
    ['proxy = "socks5://x"', 'key "proxy": expected the http:// or https:// address'],
  ])('%s', (text, message) => {
    expect(refusal(text)).toContain(`Cannot use "/certs.d/r/hosts.toml": ${message}`);
  });

  it('shows no header and no line of the file', () => {
    expect(refusal('[header]\nauthorization = "hunter2\\n"')).toBe(
      'Cannot use "/certs.d/r/hosts.toml": key "header.authorization": expected text that can stand in a header',
    );
    const broken = refusal('[header]\nauthorization = "hunter2\nx = 1');
    expect(broken).toMatch(/^Cannot use "\/certs.d\/r\/hosts.toml": line [23]: /);
    expect(broken).not.toContain('hunter2');
    expect(refusal('proxy = "http://u:hunter2@proxy/path"')).not.toContain('hunter2');
  });
});

it('answers any text with hosts or with its own error', () => {
  const lines = fc.constantFrom(
    'server = "https://x"',
    '[host."https://y"]',
    '[host."https://y".header]',
    '[host]',
    'capabilities = ["pull"]',
    'ca = [["x"]]',
    'client = [[[]]]',
    '[header]',
    'x = "y"',
    '__proto__ = 1',
    '[[host]]',
    'dial_timeout = 1s',
  );
  const files = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 200 }),
    fc.array(lines, { maxLength: 8 }).map((all) => all.join('\n')),
    fc.json().map((text) => `server = ${text}\nheader = ${text}`),
    fc.string().map((text) => `[host.${JSON.stringify(text)}]\nca = ${JSON.stringify(text)}`),
  );
  fc.assert(
    fc.property(files, (text) => {
      try {
        const { mirrors, server } = parse(text);
        for (const { url, caPaths } of [...mirrors, server]) {
          if (url !== undefined) expect(['http:', 'https:']).toContain(url.protocol);
          for (const path of caPaths) expect(path.startsWith('/')).toBe(true);
        }
      } catch (error) {
        expect(error).toBeInstanceOf(HostsFileError);
      }
    }),
    { numRuns: 500 },
  );
});
