import { createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { Credential } from '../../src/auth/credential.js';
import { Transport } from '../../src/registry/transport.js';
import { guardByToken, refuse, type SeenRequest, times } from '../fakes/registry.js';
import { client, failure, isBlob, other, readAll, registry, transport } from './client-fixture.js';
import { CollectingSink, RawServer } from './raw-server.js';

const content = Buffer.alloc(300_000, 'cais');
const password = Credential.password('u', 'p', 'test');

function blobRequest() {
  const { digest, size } = registry.addBlob(content, 'x');
  return { path: 'p/app', digest, sizeBytes: size, image: 'p/app:v1' };
}

const pour = (credential?: Credential) => {
  const request = blobRequest();
  return readAll((sink) => client(credential).pourBlob(request, sink, 0));
};
/** Only the lean client says so. */
const isLean = ({ headers }: SeenRequest) => headers['accept-encoding'] === 'identity';
const redirectTo = (count: number, target: (path: string) => string) =>
  times(count, isBlob, (response, { path }) =>
    response.writeHead(307, { location: target(path), 'content-length': 0 }).end(),
  );

describe('a blob', () => {
  it('comes the lean way, all else by the client of node', async () => {
    expect((await pour()).equals(content)).toBe(true);
    await client().ping();
    expect(registry.requests.map(isLean)).toEqual([true, false]);
  });

  it('is fetched with an answer to the challenge, and with no credentials after a redirect to another origin', async () => {
    guardByToken(registry, { accepts: () => true });
    const request = blobRequest();
    other.blobs.set(request.digest, content);
    const redirect = redirectTo(1, (path) => `http://${other.host}${path}`);
    // Behind the guard, which refuses the first request.
    registry.misbehaviours.push(redirect);
    expect((await pour(password)).equals(content)).toBe(true);
    const [refused, redirected] = registry.seen('/blobs/');
    expect(refused?.headers.authorization).toBeUndefined();
    expect(redirected?.headers.authorization).toMatch(/^Bearer /);
    expect(other.requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
    expect(registry.seen('/blobs/').concat(other.requests).every(isLean)).toBe(true);
  });

  it('is not fetched with credentials for the host that the registry redirects to', async () => {
    other.misbehaviours.push((_request, response) => {
      refuse(response, 401, 'UNAUTHORIZED', { 'www-authenticate': 'Basic realm="trap"' });
      return true;
    });
    registry.misbehaviours.push(redirectTo(9, (path) => `http://${other.host}${path}`));
    expect((await failure(pour(password))).code).toBe('UNAUTHORIZED');
    expect(other.requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });

  it.each([
    [(path: string) => path, 'more than 10 redirects'],
    [() => 'ftp://host/x', 'redirects to the scheme "ftp:"'],
    [() => 'http://u:p@host/x', 'redirects to an address with credentials'],
    [() => 'http://', 'redirects to an address that is no URL'],
  ])('is not fetched from %s', async (target, message) => {
    registry.misbehaviours.push(redirectTo(99, target));
    const error = await failure(pour());
    expect(error.code).toBe('BAD_RESPONSE');
    expect(error.message).toContain(message);
  });

  it('is asked for again after 503 and a cut connection', async () => {
    registry.misbehaviours.push(
      times(2, isBlob, (response) => refuse(response, 503, 'BUSY')),
      times(1, isBlob, (response) => response.socket?.destroy()),
    );
    expect((await pour()).equals(content)).toBe(true);
    expect(registry.requests).toHaveLength(4);
  });

  it.each([
    ['framed by its length', 1, { 'content-length': 75 }],
    ['in chunks', 2, {}],
  ])('that is not there says what the registry says: %s', async (_, requests, headers) => {
    const body = JSON.stringify({ errors: [{ code: 'BLOB_UNKNOWN', message: 'gone' }] }).padEnd(75);
    registry.misbehaviours.push(
      times(9, isBlob, (response) => response.writeHead(404, headers).end(body)),
    );
    const error = await failure(pour());
    expect(error).toMatchObject({ code: 'NOT_FOUND', registryCode: 'BLOB_UNKNOWN' });
    expect(error.message).toContain('gone');
    expect(registry.requests).toHaveLength(requests);
  });

  it('whose answer breaks HTTP is refused at once', async () => {
    const server = await RawServer.start((socket) =>
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n'),
    );
    try {
      const request = { url: server.url(), headers: {}, what: 'Cannot pull "x"' };
      const error = await failure(transport.sendForBlob(request));
      expect(error.code).toBe('BAD_RESPONSE');
      expect(error.message).toMatch(
        /^Cannot pull "x": bad answer from 127\.0\.0\.1:\d+: it has both/,
      );
      expect(server.requests).toHaveLength(1);
    } finally {
      await server.stop();
    }
  });
});

describe('a proxy', () => {
  const variables = ['HTTP_PROXY', 'http_proxy', 'NO_PROXY', 'no_proxy'] as const;
  const before = variables.map((name) => process.env[name]);
  afterEach(() => {
    for (const [i, name] of variables.entries()) {
      if (before[i] === undefined) delete process.env[name];
      else process.env[name] = before[i];
    }
  });

  it('carries blobs of hosts elsewhere, and none of this machine', async () => {
    const asked: string[] = [];
    const proxy = createServer((socket) =>
      socket
        .on('error', () => undefined)
        .once('data', (data) => {
          asked.push(data.toString().split(':')[0] ?? '');
          socket.end('HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n');
        }),
    );
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const { port } = proxy.address() as { port: number };
    for (const name of variables) delete process.env[name];
    process.env['HTTP_PROXY'] = `http://127.0.0.1:${port}`;
    const proxied = await Transport.open({ maxAttempts: 1 });
    try {
      const elsewhere = { url: new URL('http://registry.example/x'), headers: {}, what: 'x' };
      expect((await failure(proxied.sendForBlob(elsewhere))).code).toBe('UNAVAILABLE');
      expect(asked).toEqual(['CONNECT registry.example']);
      const url = new URL(`http://${registry.host}/v2/p/app/blobs/${blobRequest().digest}`);
      const sink = new CollectingSink();
      await (await proxied.sendForBlob({ url, headers: {}, what: 'x' })).body.pour(sink);
      expect(sink.bytes.equals(content)).toBe(true);
      expect(registry.requests.map(isLean)).toEqual([true]);
      expect(asked).toHaveLength(1);
    } finally {
      await proxied.close();
      await new Promise((resolve) => proxy.close(resolve));
    }
  });
});
