import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Credential } from '../../src/auth/credential.js';
import { describeError } from '../../src/errors.js';
import { RegistryClient } from '../../src/registry/client.js';
import { RegistryError } from '../../src/registry/registry-error.js';
import { parseRetryAfter, Transport } from '../../src/registry/transport.js';
import { FakeRegistry, guardByToken, refuse, type SeenRequest, times } from '../fakes/registry.js';

let registry: FakeRegistry;
let other: FakeRegistry;
let transport: Transport;

beforeEach(async () => {
  registry = await FakeRegistry.start();
  other = await FakeRegistry.start();
  transport = await Transport.open({
    retryDelayMs: 1,
    maxRetryDelayMs: 2_000,
    bodyIdleTimeoutMs: 500,
    headersTimeoutMs: 500,
  });
});
afterEach(async () => {
  await transport.close();
  await registry.stop();
  await other.stop();
});

function client(credential?: Credential): RegistryClient {
  return new RegistryClient({ transport, domain: registry.host, credential });
}

function manifestRequest(reference = 'v1', signal?: AbortSignal) {
  return { path: 'p/app', reference, image: 'p/app:v1', maxBytes: 4_000_000, signal };
}

async function failure(promise: Promise<unknown>): Promise<RegistryError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof RegistryError))
    throw new Error(`expected a RegistryError, got ${String(error)}`);
  return error;
}

async function readAll(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts);
}

const isManifest = (request: SeenRequest) => request.path.includes('/manifests/');
const isBlob = (request: SeenRequest) => request.path.includes('/blobs/');

describe('authentication', () => {
  it('starts without credentials and asks one anonymous token for everything', async () => {
    const { manifest, config } = registry.addImage('p/app', { tag: 'v1' });
    guardByToken(registry, { accepts: (given) => given === undefined });
    const anonymous = client();
    expect(await anonymous.resolveTag(manifestRequest())).toBe(manifest.digest);
    await anonymous.fetchManifest(manifestRequest());
    await Promise.all(
      [1, 2, 3].map(() =>
        anonymous.fetchBlob({ path: 'p/app', ...config, sizeBytes: config.size, image: 'x' }),
      ),
    );
    expect(registry.requests[0]?.headers.authorization).toBeUndefined();
    const tokens = registry.seen('/token');
    expect(tokens.map(({ method, path }) => [method, path])).toEqual([
      ['GET', '/token?service=fake&scope=repository%3Ap%2Fapp%3Apull'],
    ]);
  });

  it('shares one token fetch among parallel first requests', async () => {
    registry.addImage('p/app', { tag: 'v1' });
    const guard = guardByToken(registry, { accepts: () => true });
    const anonymous = client();
    await Promise.all([1, 2, 3, 4].map(() => anonymous.fetchManifest(manifestRequest())));
    expect(guard.issued).toBe(1);
  });

  it('posts a password, and falls back to GET with Basic when the server knows no POST', async () => {
    registry.addImage('p/app', { tag: 'v1' });
    registry.misbehaviours.push(
      times(
        1,
        ({ path, method }) => path === '/token' && method === 'POST',
        (response) => refuse(response, 404, 'NOT_FOUND'),
      ),
    );
    const basic = `Basic ${Buffer.from('u:p:w').toString('base64')}`;
    guardByToken(registry, { accepts: (given) => given === basic });
    await client(Credential.password('u', 'p:w', 'test')).fetchManifest(manifestRequest());
    expect(registry.seen('/token').map(({ method }) => method)).toEqual(['POST', 'GET']);
    expect(registry.seen('/token', 'POST')[0]?.body).toContain('grant_type=password');
  });

  it('posts an identity token as a refresh token', async () => {
    registry.addImage('p/app', { tag: 'v1' });
    guardByToken(registry, { accepts: (given) => given === 'refresh-me' });
    await client(
      new Credential({ kind: 'identityToken', token: 'refresh-me' }, 'test'),
    ).fetchManifest(manifestRequest());
    expect(registry.seen('/token')[0]?.body).toContain('grant_type=refresh_token');
  });

  it('gets a new token once when the registry refuses the remembered one', async () => {
    registry.addImage('p/app', { tag: 'v1' });
    const guard = guardByToken(registry, { accepts: () => true });
    const anonymous = client();
    await anonymous.fetchManifest(manifestRequest());
    guard.valid.clear();
    await anonymous.fetchManifest(manifestRequest());
    expect(guard.issued).toBe(2);
  });

  it('gets a new token when the remembered one has run out', async () => {
    registry.addImage('p/app', { tag: 'v1' });
    const guard = guardByToken(registry, { accepts: () => true, lifetimeSeconds: 1 });
    const anonymous = client();
    await anonymous.fetchManifest(manifestRequest());
    await anonymous.fetchManifest(manifestRequest());
    expect(guard.issued).toBe(2);
  });

  it('ends a loop of 401s', async () => {
    const guard = guardByToken(registry, { accepts: () => true });
    registry.misbehaviours.unshift((request, response) => {
      if (!isManifest(request)) return false;
      refuse(response, 401, 'UNAUTHORIZED', {
        'www-authenticate': `Bearer realm="http://${registry.host}/token"`,
      });
      return true;
    });
    const error = await failure(client().fetchManifest(manifestRequest()));
    expect(error).toMatchObject({
      code: 'UNAUTHORIZED',
      status: 401,
      registryCode: 'UNAUTHORIZED',
    });
    expect(error.message).toContain('Cannot pull "p/app:v1"');
    expect(error.message).toContain('pull access denied');
    expect(guard.issued).toBe(1);
    expect(registry.seen('/manifests/')).toHaveLength(2);
  });

  it('sends Basic after a Basic challenge, and remembers it for the host', async () => {
    registry.addImage('p/app', { tag: 'v1' });
    const basic = `Basic ${Buffer.from('u:p').toString('base64')}`;
    registry.misbehaviours.push((request, response) => {
      if (request.headers.authorization === basic) return false;
      refuse(response, 401, 'UNAUTHORIZED', { 'www-authenticate': 'Basic realm="x"' });
      return true;
    });
    const user = client(Credential.password('u', 'p', 'test'));
    await user.fetchManifest(manifestRequest());
    await user.fetchManifest(manifestRequest());
    expect(registry.requests.map(({ headers }) => headers.authorization)).toEqual([
      undefined,
      basic,
      basic,
    ]);
    const anonymous = await failure(client().fetchManifest(manifestRequest()));
    expect(anonymous.message).toContain(`no basic auth credentials for ${registry.host}`);
    const wrong = await failure(
      client(Credential.password('u', 'hunter2', 'test')).fetchManifest(manifestRequest()),
    );
    expect(wrong.code).toBe('UNAUTHORIZED');
    expect(describeError(wrong) + JSON.stringify(wrong)).not.toContain('hunter2');
  });

  it.each([
    ['Digest realm="x"', 'an authentication that cais does not know (digest)'],
    ['Bearer service="x"', 'names no usable realm'],
    ['Bearer realm="file:///etc/passwd"', 'names no usable realm'],
    ['Bearer realm="http://user:pw@host/"', 'names no usable realm'],
  ])('refuses the challenge %s', async (challenge, message) => {
    registry.misbehaviours.push(
      times(
        99,
        () => true,
        (response) => refuse(response, 401, 'UNAUTHORIZED', { 'www-authenticate': challenge }),
      ),
    );
    expect((await failure(client().fetchManifest(manifestRequest()))).message).toContain(message);
  });

  it('never shows a token answer in an error', async () => {
    registry.misbehaviours.push(
      times(
        1,
        ({ path }) => path.startsWith('/token'),
        (response) => response.end('{"token": "se cret"}'),
      ),
    );
    guardByToken(registry, { accepts: () => true });
    const error = await failure(client().fetchManifest(manifestRequest()));
    expect(error.message).toContain('the answer holds no token');
    expect(error.message).not.toContain('cret');
  });
});

describe('redirects', () => {
  it('sends no credentials after a redirect to another origin', async () => {
    const { layers } = registry.addImage('p/app', { tag: 'v1' });
    const [layer] = layers;
    if (layer === undefined) throw new Error('no layer');
    other.blobs.set(layer.digest, registry.blobs.get(layer.digest) as Buffer);
    guardByToken(registry, { accepts: () => true });
    registry.misbehaviours.push(
      times(1, isBlob, (response, { path }) =>
        response.writeHead(307, { location: `http://${other.host}${path}` }).end(),
      ),
    );
    const bytes = await client(Credential.password('u', 'p', 'test')).fetchBlob({
      path: 'p/app',
      digest: layer.digest,
      sizeBytes: layer.size,
      image: 'x',
    });
    expect(bytes).toEqual(registry.blobs.get(layer.digest));
    expect(other.requests).toHaveLength(1);
    expect(other.requests[0]?.headers.authorization).toBeUndefined();
    expect(registry.seen('/blobs/').at(-1)?.headers.authorization).toContain('Bearer');
  });

  it('does not answer a challenge of the host it was sent to', async () => {
    other.misbehaviours.push((_request, response) => {
      refuse(response, 401, 'UNAUTHORIZED', { 'www-authenticate': 'Basic realm="trap"' });
      return true;
    });
    registry.misbehaviours.push(
      times(9, isManifest, (response, { path }) =>
        response.writeHead(302, { location: `http://${other.host}${path}` }).end(),
      ),
    );
    const error = await failure(
      client(Credential.password('u', 'p', 'test')).fetchManifest(manifestRequest()),
    );
    expect(error.code).toBe('UNAUTHORIZED');
    expect(other.requests).toHaveLength(1);
    expect(other.requests[0]?.headers.authorization).toBeUndefined();
  });

  it('does not forward the password of a token request', async () => {
    registry.misbehaviours.push(
      times(
        9,
        ({ path }) => path === '/token',
        (response) => response.writeHead(307, { location: `http://${other.host}/token` }).end(),
      ),
    );
    guardByToken(registry, { accepts: () => true });
    const error = await failure(
      client(Credential.password('u', 'p', 'test')).fetchManifest(manifestRequest()),
    );
    expect(error.message).toContain('redirects a request with credentials');
    expect(other.requests).toHaveLength(0);
  });

  it.each([
    ['/v2/p/app/manifests/v1', 'more than 10 redirects'],
    ['ftp://host/x', 'redirects to the scheme "ftp:"'],
    ['http://u:p@host/x', 'redirects to an address with credentials'],
    ['http://', 'redirects to an address that is no URL'],
  ])('refuses a redirect to %s', async (location, message) => {
    registry.misbehaviours.push(
      times(
        99,
        () => true,
        (response) => response.writeHead(302, { location }).end(),
      ),
    );
    const error = await failure(client().fetchManifest(manifestRequest()));
    expect(error.code).toBe('BAD_RESPONSE');
    expect(error.message).toContain(message);
  });
});

describe('retries', () => {
  it.each([500, 502, 503, 504, 429, 408])('sends again after %i', async (status) => {
    const { manifest } = registry.addImage('p/app', { tag: 'v1' });
    registry.misbehaviours.push(
      times(2, isManifest, (response) => refuse(response, status, 'OOPS')),
    );
    expect((await client().fetchManifest(manifestRequest())).digest).toBe(manifest.digest);
  });

  it('sends again after a cut connection, and after a body cut in the middle', async () => {
    const { manifest } = registry.addImage('p/app', { tag: 'v1' });
    registry.misbehaviours.push(
      times(1, isManifest, (response) => response.socket?.destroy()),
      times(1, isManifest, (response) => {
        response.writeHead(200, { 'content-length': 1000 }).write('{"schema');
        response.socket?.end();
      }),
    );
    expect((await client().fetchManifest(manifestRequest())).digest).toBe(manifest.digest);
  });

  it('waits as long as Retry-After says, within bounds', async () => {
    registry.addImage('p/app', { tag: 'v1' });
    registry.misbehaviours.push(
      times(1, isManifest, (response) =>
        refuse(response, 429, 'TOOMANYREQUESTS', { 'retry-after': '3600' }),
      ),
    );
    const start = performance.now();
    await client().fetchManifest(manifestRequest());
    const elapsedMs = performance.now() - start;
    expect(elapsedMs).toBeGreaterThan(1_900);
    expect(elapsedMs).toBeLessThan(30_000);
  });

  it.each([
    ['7', 7_000],
    ['soon', undefined],
    ['-1', undefined],
    [undefined, undefined],
    ['Thu, 01 Jan 1970 00:00:00 GMT', 0],
  ])('parseRetryAfter() reads %j as %j', (text, expected) => {
    expect(parseRetryAfter(text)).toBe(expected);
  });

  it('ends a pause when the signal fires', async () => {
    registry.misbehaviours.push(
      times(9, isManifest, (response) => refuse(response, 503, 'X', { 'retry-after': '2' })),
    );
    const controller = new AbortController();
    const pending = client().fetchManifest(manifestRequest('v1', controller.signal));
    setImmediate(() => controller.abort(new Error('enough')));
    await expect(pending).rejects.toThrow('enough');
  });

  it.each([
    [401, 'UNAUTHORIZED', 'pull access denied'],
    [403, 'DENIED', 'pull access denied'],
    [404, 'NOT_FOUND', 'not found'],
    [429, 'TOO_MANY_REQUESTS', 'limits the rate'],
    [500, 'UNAVAILABLE', 'is unavailable'],
    [418, 'BAD_RESPONSE', 'unexpected answer'],
  ])(
    'reports a final %i as %s with image, host and what the registry says',
    async (status, code, text) => {
      registry.misbehaviours.push(
        times(99, isManifest, (response) =>
          refuse(response, status, 'SOME_CODE', { 'www-authenticate': 'x' }),
        ),
      );
      const error = await failure(client().fetchManifest(manifestRequest()));
      if (status !== 401) expect(error).toMatchObject({ code, status, registryCode: 'SOME_CODE' });
      expect(error.code).toBe(code);
      expect(error.message).toContain('"p/app:v1"');
      expect(error.message).toContain(registry.host);
      if (status !== 401) expect(error.message).toContain(text);
    },
  );

  it('reports a registry that is not there, naming it', async () => {
    const alone = client();
    await registry.stop();
    const error = await failure(alone.fetchManifest(manifestRequest()));
    expect(error.code).toBe('UNAVAILABLE');
    expect(error.message).toContain('no answer from 127.0.0.1:');
    registry = await FakeRegistry.start();
  });

  it('reports a registry that never answers', async () => {
    registry.misbehaviours.push(() => true);
    const quick = await Transport.open({ headersTimeoutMs: 300, maxAttempts: 1 });
    const error = await failure(
      new RegistryClient({ transport: quick, domain: registry.host }).fetchManifest(
        manifestRequest(),
      ),
    );
    expect(error.code).toBe('TIMED_OUT');
    await quick.close();
  });

  it('shows nothing of an error body that is no registry error, and bounds one that is', async () => {
    registry.misbehaviours.push(
      times(1, isManifest, (response) => response.writeHead(404).end('<html>secret page</html>')),
      times(1, isManifest, (response) =>
        response
          .writeHead(404)
          .end(
            JSON.stringify({ errors: [{ code: 'X', message: '\u001b[31m'.padEnd(10_000, 'y') }] }),
          ),
      ),
      times(1, isManifest, (response) => response.writeHead(404).end('x'.repeat(1_000_000))),
    );
    for (let i = 0; i < 3; i++) {
      const { message } = await failure(client().fetchManifest(manifestRequest()));
      expect(message.length).toBeLessThan(700);
      expect(message).not.toContain('secret');
      expect(message).not.toContain('\u001b');
    }
  });
});

describe('manifests', () => {
  it('refuses bytes that are not what was asked for by digest, whatever the header says', async () => {
    const { manifest } = registry.addImage('p/app', { tag: 'v1' });
    registry.misbehaviours.push(
      times(9, isManifest, (response) =>
        response.writeHead(200, { 'docker-content-digest': manifest.digest }).end('{}'),
      ),
    );
    expect((await failure(client().fetchManifest(manifestRequest(manifest.digest)))).code).toBe(
      'DIGEST_MISMATCH',
    );
    expect((await failure(client().fetchManifest(manifestRequest()))).code).toBe('DIGEST_MISMATCH');
  });

  it('refuses a digest header that is no digest', async () => {
    registry.misbehaviours.push(
      times(9, isManifest, (response) =>
        response.writeHead(200, { 'docker-content-digest': 'sha256:../x' }).end('{}'),
      ),
    );
    expect((await failure(client().fetchManifest(manifestRequest()))).message).toContain(
      'which is none',
    );
    expect((await failure(client().resolveTag(manifestRequest()))).message).toContain(
      'which is none',
    );
  });

  it('refuses a document that is too large, announced or not', async () => {
    const big = Buffer.alloc(4_000_001, 0x20);
    registry.misbehaviours.push(
      times(1, isManifest, (response) =>
        response.writeHead(200, { 'content-length': big.byteLength }).end(big),
      ),
      times(1, isManifest, (response) => response.writeHead(200).end(big)),
    );
    for (let i = 0; i < 2; i++) {
      expect((await failure(client().fetchManifest(manifestRequest()))).code).toBe(
        'LIMIT_EXCEEDED',
      );
    }
  });

  it('resolveTag() knows nothing when the registry does not say', async () => {
    registry.misbehaviours.push(
      times(
        9,
        ({ method }) => method === 'HEAD',
        (response) => response.writeHead(405).end(),
      ),
    );
    expect(await client().resolveTag(manifestRequest())).toBeUndefined();
  });
});

describe('blobs', () => {
  const content = Buffer.from(Array.from({ length: 500_000 }, (_, i) => (i * 7) % 251));

  function blobRequest(signal?: AbortSignal) {
    const { digest, size } = registry.addBlob(content, 'x');
    return { path: 'p/app', digest, sizeBytes: size, image: 'p/app:v1', signal };
  }

  /** Sends `length` bytes from where it was asked to, and cuts. */
  const cutAfter = (length: number) =>
    times(1, isBlob, (response, { headers }) => {
      const start = Number(/[0-9]+/.exec(headers.range ?? '0')?.[0]);
      const range =
        start > 0
          ? { 'content-range': `bytes ${start}-${content.byteLength - 1}/${content.byteLength}` }
          : {};
      response.writeHead(start > 0 ? 206 : 200, {
        'content-length': content.byteLength - start,
        ...range,
      });
      response.write(content.subarray(start, start + length), () => response.socket?.end());
    });

  it('goes on where a cut connection ended', async () => {
    const request = blobRequest();
    registry.misbehaviours.push(cutAfter(100_000), cutAfter(150_000));
    expect(await readAll(client().streamBlob(request, 0))).toEqual(content);
    const [first, second, third] = registry.seen('/blobs/').map(({ headers }) => headers.range);
    expect(first).toBeUndefined();
    expect([second, third]).toEqual(['bytes=100000-', 'bytes=250000-']);
  });

  it('skips what it knows when the registry ignores Range', async () => {
    const request = blobRequest();
    registry.misbehaviours.push(
      cutAfter(100_000),
      times(1, isBlob, (response) => response.writeHead(200).end(content)),
    );
    expect(await readAll(client().streamBlob(request, 0))).toEqual(content);
    expect(await readAll(client().streamBlob(request, 499_999))).toEqual(content.subarray(499_999));
    expect(await readAll(client().streamBlob(request, 500_000))).toEqual(Buffer.alloc(0));
  });

  it.each([
    ['bytes 0-499999/500000'],
    ['bytes 100000-499999/600000'],
    ['bytes 100000-200000/500000'],
    ['items 1-2/3'],
    [''],
  ])('refuses an answer that lies about its range: %j', async (range) => {
    const request = blobRequest();
    registry.misbehaviours.push(
      cutAfter(100_000),
      times(1, isBlob, (response) =>
        response.writeHead(206, { 'content-range': range }).end(content),
      ),
    );
    const error = await failure(readAll(client().streamBlob(request, 0)));
    expect(error.code).toBe('BAD_RESPONSE');
    expect(error.message).toContain('asked 127.0.0.1');
  });

  it('refuses a part that nobody asked for', async () => {
    const request = blobRequest();
    registry.misbehaviours.push(
      times(1, isBlob, (response) =>
        response.writeHead(206, { 'content-range': 'bytes 0-499999/500000' }).end(content),
      ),
    );
    expect((await failure(readAll(client().streamBlob(request, 0)))).code).toBe('BAD_RESPONSE');
  });

  it('refuses a wrong length before and while reading', async () => {
    const request = blobRequest();
    registry.misbehaviours.push(
      times(1, isBlob, (response) => response.writeHead(200, { 'content-length': 3 }).end('abc')),
      times(1, isBlob, (response) =>
        response.writeHead(200).end(Buffer.concat([content, content])),
      ),
    );
    for (let i = 0; i < 2; i++) {
      expect((await failure(readAll(client().streamBlob(request, 0)))).code).toBe('SIZE_MISMATCH');
    }
  });

  it('gives up when connections deliver nothing', async () => {
    const request = blobRequest();
    registry.misbehaviours.push(cutAfter(1000), ...Array.from({ length: 20 }, () => cutAfter(0)));
    const error = await failure(readAll(client().streamBlob(request, 0)));
    expect(error.code).toBe('UNAVAILABLE');
    expect(error.message).toMatch(
      /layer sha256:[0-9a-f]+: the connection to .* broke 3 times at byte 1000 of 500000/,
    );
  });

  it('gives up on a body that stalls', async () => {
    const request = blobRequest();
    registry.misbehaviours.push(
      times(99, isBlob, (response) =>
        response.writeHead(200, { 'content-length': content.byteLength }).flushHeaders(),
      ),
    );
    const error = await failure(readAll(client().streamBlob(request, 0)));
    expect(error.code).toBe('TIMED_OUT');
  });

  it('ends when the signal fires, and when the reader leaves', async () => {
    const controller = new AbortController();
    const request = blobRequest(controller.signal);
    for await (const chunk of client().streamBlob(request, 0)) {
      expect(chunk.byteLength).toBeGreaterThan(0);
      break;
    }
    const reading = (async () => {
      for await (const _ of client().streamBlob(request, 0)) controller.abort(new Error('enough'));
    })();
    await expect(reading).rejects.toThrow('enough');
  });

  it('reads an empty blob', async () => {
    const { digest } = registry.addBlob(Buffer.alloc(0), 'x');
    const request = { path: 'p/app', digest, sizeBytes: 0, image: 'x' };
    expect(await readAll(client().streamBlob(request, 0))).toHaveLength(0);
  });

  it('fetchBlob() refuses wrong content and size', async () => {
    const { digest, size } = registry.addBlob(Buffer.from('right'), 'x');
    registry.blobs.set(digest, Buffer.from('wrong'));
    const request = { path: 'p/app', digest, sizeBytes: size, image: 'x' };
    expect((await failure(client().fetchBlob(request))).code).toBe('DIGEST_MISMATCH');
    registry.blobs.set(digest, Buffer.from('short'.slice(0, 4)));
    expect((await failure(client().fetchBlob(request))).code).toBe('SIZE_MISMATCH');
  });

  it('streamForeignBlob() refuses plain HTTP and addresses of this machine when the registry is elsewhere', () => {
    const remote = new RegistryClient({ transport, domain: 'registry.example' });
    for (const url of [
      'http://cdn.example/x',
      'https://127.0.0.1/x',
      'https://169.254.169.254/x',
      'file:///x',
      '',
    ]) {
      expect(() => remote.streamForeignBlob(blobRequest(), { url, offsetBytes: 0 })).toThrow(
        'not allowed',
      );
    }
  });
});
