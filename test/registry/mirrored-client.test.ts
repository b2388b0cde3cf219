import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Credential } from '../../src/auth/credential.js';
import { digestOf } from '../../src/digest.js';
import { HostsDirectory } from '../../src/registry/hosts-directory.js';
import { MirroredClient } from '../../src/registry/mirrored-client.js';
import { FakeRegistry, guardByToken, refuse, times } from '../fakes/registry.js';
import {
  failure,
  isBlob,
  isManifest,
  manifestRequest,
  other as mirror,
  readAll,
  registry,
  transport,
} from './client-fixture.js';
import { selfSigned } from './raw-server.js';

let root: string;
let open: MirroredClient[];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'cais-certs.d-'));
  open = [];
});
afterEach(async () => {
  for (const client of open) await client.close();
  rmSync(root, { recursive: true, force: true });
});

interface ClientOptions {
  readonly domain?: string;
  readonly credentials?: Readonly<Record<string, Credential>>;
}

/** A client by this `hosts.toml`; `MIRROR` stands for the address of the mirror. */
async function clientOf(
  text: string,
  { domain = registry.host, credentials = {} }: ClientOptions = {},
): Promise<MirroredClient> {
  mkdirSync(join(root, domain), { recursive: true });
  const address = `http://${mirror.host}`;
  writeFileSync(join(root, domain, 'hosts.toml'), text.replaceAll('MIRROR', address));
  const hosts = new HostsDirectory({ path: root, insecureRegistries: [] });
  const client = new MirroredClient({
    transport,
    domain,
    endpoints: await hosts.endpointsOf(domain),
    credentialsFor: async (name) => {
      const credential = credentials[name];
      return credential === undefined ? [] : [credential];
    },
  });
  open.push(client);
  return client;
}

const ONE_MIRROR = '[host."MIRROR"]\n';
/** The same image in both. */
function addImages() {
  mirror.addImage('p/app', { tag: 'v1' });
  return registry.addImage('p/app', { tag: 'v1' });
}
function blobRequest({ digest, size }: ReturnType<typeof addImages>['config']) {
  return { path: 'p/app', digest, sizeBytes: size, image: 'p/app:v1' };
}

describe('a mirror', () => {
  it('is asked first, for the registry by name, and alone when it has all', async () => {
    const { config, layers } = addImages();
    const client = await clientOf(ONE_MIRROR);
    await client.resolveTag(manifestRequest());
    await client.fetchManifest(manifestRequest());
    await client.fetchBlob(blobRequest(config));
    const [layer] = layers;
    if (layer === undefined) throw new Error('no layer');
    const bytes = await readAll((sink) => client.pourBlob(blobRequest(layer), sink, 0));
    expect(digestOf(bytes)).toBe(layer.digest);
    expect(registry.requests).toEqual([]);
    expect(mirror.requests).toHaveLength(4);
    const ns = encodeURIComponent(registry.host);
    for (const { path } of mirror.requests) expect(path).toMatch(new RegExp(`\\?ns=${ns}$`));
  });

  it.each([404, 403, 401, 429, 500, 503])('that answers %i gives way at once', async (status) => {
    const { config } = addImages();
    mirror.misbehaviours.push((_request, response) => {
      refuse(response, status, 'X', { 'retry-after': '60' });
      return true;
    });
    const client = await clientOf(ONE_MIRROR);
    expect((await client.fetchManifest(manifestRequest())).bytes.byteLength).toBeGreaterThan(0);
    await client.fetchBlob(blobRequest(config));
    expect(registry.requests).toHaveLength(2);
    expect(registry.requests.every(({ path }) => !path.includes('ns='))).toBe(true);
    // One that is out of order is not asked again.
    expect(mirror.requests).toHaveLength(status >= 500 ? 1 : 2);
  });

  it('that cannot be reached is tried once', async () => {
    const { config } = addImages();
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    await new Promise((resolve) => server.close(resolve));
    const client = await clientOf(`[host."http://127.0.0.1:${port}"]\n`);
    const start = Date.now();
    await client.fetchManifest(manifestRequest());
    await client.fetchBlob(blobRequest(config));
    expect(Date.now() - start).toBeLessThan(2_000);
    expect(registry.requests).toHaveLength(2);
  });

  it('that breaks in the middle of a layer is followed by the registry from there on', async () => {
    const content = Buffer.alloc(300_000, 'x');
    const { layers } = registry.addImage('p/app', { layers: [content] });
    mirror.addImage('p/app', { layers: [content] });
    const descriptor = registry.addBlob(content, 'application/octet-stream');
    mirror.addBlob(content, 'application/octet-stream');
    expect(layers).toHaveLength(1);
    mirror.misbehaviours.push(
      times(1, isBlob, (response) => {
        response.writeHead(200, { 'content-length': content.byteLength });
        response.write(content.subarray(0, 100_000), () => response.socket?.destroy());
      }),
      (request, response) => {
        if (isBlob(request)) refuse(response, 500, 'X');
        return isBlob(request);
      },
    );
    const client = await clientOf(ONE_MIRROR);
    const bytes = await readAll((sink) => client.pourBlob(blobRequest(descriptor), sink, 0));
    expect(bytes.equals(content)).toBe(true);
    expect(registry.requests[0]?.headers.range).toMatch(/^bytes=[1-9][0-9]*-$/);
  });

  it('that lies about a digest is passed over', async () => {
    const { config, manifest } = addImages();
    mirror.misbehaviours.push((_request, response) => {
      response.writeHead(200, { 'content-length': config.size }).end(Buffer.alloc(config.size));
      return true;
    });
    const client = await clientOf(ONE_MIRROR);
    expect(digestOf(await client.fetchBlob(blobRequest(config)))).toBe(config.digest);
    const fetched = await client.fetchManifest(manifestRequest(manifest.digest));
    expect(fetched.digest).toBe(manifest.digest);
  });

  it('without "resolve" is never asked what a tag means', async () => {
    addImages();
    const client = await clientOf('[host."MIRROR"]\ncapabilities = ["pull"]\n');
    expect(client.resolvesApart).toBe(true);
    const digest = await client.resolveTag(manifestRequest());
    await client.fetchManifest(manifestRequest());
    expect(mirror.requests).toEqual([]);
    await client.fetchManifest(manifestRequest(digest));
    expect(mirror.requests).toHaveLength(1);
  });

  it('that stands in for the server leaves the registry alone', async () => {
    mirror.addImage('p/app', { tag: 'v1' });
    const client = await clientOf('server = "MIRROR"\n');
    await client.fetchManifest(manifestRequest());
    expect(registry.requests).toEqual([]);
    expect(mirror.requests[0]?.path).toContain('?ns=');
  });

  it('may have its API elsewhere', async () => {
    mirror.misbehaviours.push((_request, response) => {
      response.end('{}');
      return true;
    });
    const client = await clientOf('[host."MIRROR/a/b"]\n[host."MIRROR/c"]\noverride_path = true\n');
    await client.fetchManifest(manifestRequest());
    expect(mirror.requests[0]?.path).toMatch(/^\/a\/b\/v2\/p\/app\/manifests\/v1\?ns=/);
  });
});

describe('the error of several hosts', () => {
  it('is the one that tells most, with what the others said', async () => {
    mirror.misbehaviours.push((_request, response) => {
      refuse(response, 401, 'UNAUTHORIZED');
      return true;
    });
    const client = await clientOf(ONE_MIRROR);
    const error = await failure(client.fetchManifest(manifestRequest('gone')));
    expect(error.code).toBe('UNAUTHORIZED');
    expect(error.message).toMatch(
      /^Cannot pull "p\/app:v1": manifest: .* \(other hosts: not found/,
    );
    expect(error.message.match(/Cannot pull/g)).toHaveLength(1);
  });

  it('is that of the registry among equals', async () => {
    const client = await clientOf(ONE_MIRROR);
    const error = await failure(client.fetchManifest(manifestRequest('gone')));
    expect(error).toMatchObject({ code: 'NOT_FOUND', registryCode: 'MANIFEST_UNKNOWN' });
    expect(error.message).toContain(`(${registry.host} answered 404`);
  });

  it('says when no host may resolve tags', async () => {
    const client = await clientOf('capabilities = ["pull"]\n');
    const error = await failure(client.fetchManifest(manifestRequest()));
    expect(error.message).toContain('with the capability "resolve"');
  });
});

describe('credentials', () => {
  const guard = (one: FakeRegistry) => {
    const seen: (string | undefined)[] = [];
    guardByToken(one, {
      accepts: (given) => {
        seen.push(given);
        return given !== undefined;
      },
    });
    return seen;
  };

  it('of the registry do not reach a mirror', async () => {
    addImages();
    const atMirror = guard(mirror);
    const atRegistry = guard(registry);
    const client = await clientOf(ONE_MIRROR, {
      credentials: { [registry.host]: Credential.password('u', 'p', 'test') },
    });
    await client.fetchManifest(manifestRequest());
    expect(atMirror).toEqual([undefined]);
    expect(atRegistry).toEqual(['u:p']);
    expect(JSON.stringify(mirror.requests)).not.toContain('u:p');
  });

  it('of a mirror reach it, and nobody else', async () => {
    addImages();
    const atMirror = guard(mirror);
    const client = await clientOf(ONE_MIRROR, {
      credentials: { [mirror.host]: Credential.password('m', 'q', 'test') },
    });
    await client.fetchManifest(manifestRequest());
    expect(atMirror).toEqual(['m:q']);
    expect(registry.requests).toEqual([]);
  });
});

describe('headers of a host', () => {
  const text = '[host."MIRROR".header]\nX-Key = "secret"\nAuthorization = "Basic static"\n';

  it('go to that host only, also when it redirects', async () => {
    const { config } = registry.addImage('p/app', { tag: 'v1' });
    mirror.misbehaviours.push((request, response) => {
      response.writeHead(307, { location: `http://${registry.host}${request.path}` }).end();
      return true;
    });
    const client = await clientOf(text);
    await client.fetchBlob(blobRequest(config));
    expect(mirror.requests[0]?.headers).toMatchObject({
      'x-key': 'secret',
      authorization: 'Basic static',
    });
    expect(registry.requests).toHaveLength(1);
    expect(registry.requests[0]?.headers['x-key']).toBeUndefined();
    expect(registry.requests[0]?.headers.authorization).toBeUndefined();
  });

  it('go to its token server only when that is at the same place, and give way to a token', async () => {
    mirror.addImage('p/app', { tag: 'v1' });
    guardByToken(mirror, { accepts: () => true });
    await (await clientOf(text)).fetchManifest(manifestRequest());
    expect(mirror.seen('/token')[0]?.headers['x-key']).toBe('secret');
    expect(mirror.requests.filter(isManifest).at(-1)?.headers.authorization).toBe('Bearer token-1');

    const elsewhere = await FakeRegistry.start();
    try {
      mirror.misbehaviours.length = 0;
      guardByToken(mirror, { accepts: () => true, realm: `http://${elsewhere.host}/token` });
      elsewhere.misbehaviours.push((_request, response) => {
        response.end('{"token":"x"}');
        return true;
      });
      await failure((await clientOf(text)).fetchManifest(manifestRequest()));
      expect(elsewhere.requests[0]?.headers['x-key']).toBeUndefined();
    } finally {
      await elsewhere.stop();
    }
  });
});

describe('TLS', () => {
  const server = selfSigned();
  const user = selfSigned();
  let secure: FakeRegistry;

  beforeEach(async () => {
    secure = await FakeRegistry.start({ ...server });
    writeFileSync(join(root, 'server.pem'), server.cert);
    writeFileSync(join(root, 'user.pem'), user.cert + user.key);
  });
  afterEach(() => secure.stop());

  const secureText = (lines: string) => `[host."https://${secure.host}"]\n${lines}\n`;

  it('of a mirror must be vouched for, by `ca` or not at all', async () => {
    const { config } = addImages();
    secure.addImage('p/app', { tag: 'v1' });
    const ask = async (lines: string) => {
      const client = await clientOf(secureText(lines));
      await client.fetchManifest(manifestRequest());
      await readAll((sink) => client.pourBlob(blobRequest(config), sink, 0));
      return secure.requests.splice(0).length;
    };
    expect(await ask('')).toBe(0);
    expect(await ask('ca = "../server.pem"')).toBe(2);
    expect(await ask('skip_verify = true')).toBe(2);
    expect(await ask('ca = "../user.pem"')).toBe(0);
  });

  it('shows a client certificate', async () => {
    const mutual = await FakeRegistry.start({
      ...server,
      requestCert: true,
      rejectUnauthorized: true,
      ca: [user.cert],
    });
    try {
      const { config } = mutual.addImage('p/app', { tag: 'v1' });
      const text = `server = "https://${mutual.host}"\nca = "../server.pem"\nclient = "../user.pem"\n`;
      const client = await clientOf(text, { domain: 'r.example' });
      await client.fetchManifest(manifestRequest());
      await readAll((sink) => client.pourBlob(blobRequest(config), sink, 0));
      expect(mutual.requests).toHaveLength(2);
      const bare = await clientOf(text.replace(/client.*/, ''), { domain: 'r.example' });
      await failure(bare.fetchManifest(manifestRequest()));
      expect(mutual.requests).toHaveLength(2);
    } finally {
      await mutual.stop();
    }
  });
});
