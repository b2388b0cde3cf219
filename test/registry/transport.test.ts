import { describe, expect, it } from 'vitest';
import { Credential } from '../../src/auth/credential.js';
import { RegistryClient } from '../../src/registry/client.js';
import { parseRetryAfter, Transport } from '../../src/registry/transport.js';
import { guardByToken, refuse, times } from '../fakes/registry.js';
import {
  client,
  failure,
  isBlob,
  isManifest,
  manifestRequest,
  other,
  registry,
} from './client-fixture.js';

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
