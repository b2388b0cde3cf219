import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { type BlobRequest, RegistryClient } from '../../src/registry/client.js';
import { times } from '../fakes/registry.js';
import {
  client,
  failure,
  isBlob,
  isManifest,
  manifestRequest,
  readAll,
  registry,
  transport,
} from './client-fixture.js';
import { CollectingSink, ReceivingSink } from './raw-server.js';

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

describe.each([
  ['piece by piece', CollectingSink],
  ['by a sink that reads itself', ReceivingSink],
])('blobs %s', (_how, Sink) => {
  const content = Buffer.from(Array.from({ length: 500_000 }, (_, i) => (i * 7) % 251));

  function blobRequest(signal?: AbortSignal) {
    const { digest, size } = registry.addBlob(content, 'x');
    return { path: 'p/app', digest, sizeBytes: size, image: 'p/app:v1', signal };
  }

  const read = (request: BlobRequest, offsetBytes = 0) =>
    readAll((sink) => client().pourBlob(request, sink, offsetBytes), new Sink());

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
    expect(await read(request)).toEqual(content);
    const [first, second, third] = registry.seen('/blobs/').map(({ headers }) => headers.range);
    expect(first).toBeUndefined();
    expect([second, third]).toEqual(['bytes=100000-', 'bytes=250000-']);
  });

  it('skips what it knows when the registry ignores Range', async () => {
    const request = blobRequest();
    registry.misbehaviours.push(
      cutAfter(100_000),
      times(1, isBlob, (response) =>
        response.writeHead(200, { 'content-length': content.byteLength }).end(content),
      ),
    );
    expect(await read(request)).toEqual(content);
    expect(await read(request, 499_999)).toEqual(content.subarray(499_999));
    expect(await read(request, 500_000)).toEqual(Buffer.alloc(0));
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
        response
          .writeHead(206, { 'content-range': range, 'content-length': content.byteLength })
          .end(content),
      ),
    );
    const error = await failure(read(request));
    expect(error.code).toBe('BAD_RESPONSE');
    expect(error.message).toContain('asked 127.0.0.1');
  });

  it('refuses a part that nobody asked for', async () => {
    const request = blobRequest();
    registry.misbehaviours.push(
      // As node's client reads it, too: it is asked again what comes without a length.
      times(2, isBlob, (response) =>
        response.writeHead(206, { 'content-range': 'bytes 0-499999/500000' }).end(content),
      ),
    );
    expect((await failure(read(request))).code).toBe('BAD_RESPONSE');
  });

  it('refuses a wrong length before and while reading', async () => {
    const request = blobRequest();
    registry.misbehaviours.push(
      times(1, isBlob, (response) => response.writeHead(200, { 'content-length': 3 }).end('abc')),
      times(2, isBlob, (response) =>
        response.writeHead(200).end(Buffer.concat([content, content])),
      ),
    );
    for (let i = 0; i < 2; i++) {
      expect((await failure(read(request))).code).toBe('SIZE_MISMATCH');
    }
  });

  it('gives up when connections deliver nothing', async () => {
    const request = blobRequest();
    registry.misbehaviours.push(cutAfter(1000), ...Array.from({ length: 20 }, () => cutAfter(0)));
    const error = await failure(read(request));
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
    const error = await failure(read(request));
    expect(error.code).toBe('TIMED_OUT');
  });

  it.each([
    ['by its length', { 'content-length': content.byteLength }],
    ['in chunks', {}],
  ])(
    'ends when the signal fires, and when the sink throws, whatever it throws: a body framed %s',
    async (_, headers) => {
      const controller = new AbortController();
      const request = blobRequest(controller.signal);
      registry.misbehaviours.push(
        times(9, isBlob, (response) => {
          // Never ends by itself.
          response.writeHead(200, headers).write(content.subarray(0, 100_000));
        }),
      );
      const transient = Object.assign(new Error('the disk'), { code: 'ECONNRESET' });
      const refuse = () => {
        throw transient;
      };
      const pour = (write: () => boolean, drained: () => Promise<void>) =>
        client().pourBlob(request, { write, drained }, 0);
      await expect(pour(refuse, async () => undefined)).rejects.toBe(transient);
      await expect(
        pour(
          () => false,
          () => Promise.reject(transient),
        ),
      ).rejects.toBe(transient);
      const waiting = pour(
        () => {
          setImmediate(() => controller.abort(new Error('enough')));
          return false;
        },
        () => new Promise(() => undefined),
      );
      await expect(waiting).rejects.toThrow('enough');
    },
  );

  it('reads a body in chunks, one that ends by closing and an encoded one, by the client of node', async () => {
    const request = blobRequest();
    const ways: ((response: ServerResponse) => unknown)[] = [
      (response) => response.writeHead(200).end(content),
      (response) => {
        response.useChunkedEncodingByDefault = false;
        response.writeHead(200, { connection: 'close' }).end(content);
      },
      (response) =>
        response
          .writeHead(200, { 'content-length': content.byteLength, 'content-encoding': 'x' })
          .end(content),
    ];
    for (const way of ways) {
      registry.misbehaviours.push(times(2, isBlob, (response) => void way(response)));
      expect((await read(request)).equals(content)).toBe(true);
      expect(registry.seen('/blobs/')).toHaveLength(2);
      registry.requests.length = 0;
    }
  });

  it('reads an empty blob', async () => {
    const { digest } = registry.addBlob(Buffer.alloc(0), 'x');
    const request = { path: 'p/app', digest, sizeBytes: 0, image: 'x' };
    expect(await read(request)).toHaveLength(0);
  });

  it('fetchBlob() refuses wrong content and size', async () => {
    const { digest, size } = registry.addBlob(Buffer.from('right'), 'x');
    registry.blobs.set(digest, Buffer.from('wrong'));
    const request = { path: 'p/app', digest, sizeBytes: size, image: 'x' };
    expect((await failure(client().fetchBlob(request))).code).toBe('DIGEST_MISMATCH');
    registry.blobs.set(digest, Buffer.from('short'.slice(0, 4)));
    expect((await failure(client().fetchBlob(request))).code).toBe('SIZE_MISMATCH');
  });

  it('pourForeignBlob() refuses plain HTTP and addresses of this machine when the registry is elsewhere', async () => {
    const remote = new RegistryClient({ transport, domain: 'registry.example' });
    for (const url of [
      'http://cdn.example/x',
      'https://127.0.0.1/x',
      'https://169.254.169.254/x',
      'file:///x',
      '',
    ]) {
      const reading = readAll((sink) =>
        remote.pourForeignBlob(blobRequest(), sink, { url, offsetBytes: 0 }),
      );
      await expect(reading).rejects.toThrow('not allowed');
    }
  });
});
