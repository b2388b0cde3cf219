import { describe, expect, it } from 'vitest';
import { Credential } from '../../src/auth/credential.js';
import { describeError } from '../../src/errors.js';
import { guardByToken, refuse, times } from '../fakes/registry.js';
import { client, failure, isManifest, manifestRequest, registry } from './client-fixture.js';

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
