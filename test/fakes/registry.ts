import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { type Digest, digestOf } from '../../src/digest.js';

/** One request as the registry saw it. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** Answers a request itself and returns true, or leaves it to the next one. */
export type Misbehaviour = (
  request: SeenRequest,
  response: ServerResponse,
) => boolean | undefined | Promise<boolean | undefined>;

export interface StoredDocument {
  readonly bytes: Buffer;
  readonly mediaType: string;
}

export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';

/**
 * A registry in this process, on loopback, that can be made to misbehave. It records every request.
 */
export class FakeRegistry {
  readonly requests: SeenRequest[] = [];
  readonly blobs = new Map<Digest, Buffer>();
  /** `repository:tag` or `repository@digest` → document. */
  readonly manifests = new Map<string, StoredDocument>();
  /** Asked in order before the honest answer. */
  readonly misbehaviours: Misbehaviour[] = [];
  readonly #server;

  private constructor(tls: ServerOptions | undefined) {
    const answer = (request: IncomingMessage, response: ServerResponse) =>
      void this.#answer(request, response);
    this.#server = tls === undefined ? createServer(answer) : createTlsServer(tls, answer);
  }

  /** Speaks plain HTTP, unless it gets a certificate. */
  static async start(tls?: ServerOptions): Promise<FakeRegistry> {
    const registry = new FakeRegistry(tls);
    await new Promise<void>((resolve) => registry.#server.listen(0, '127.0.0.1', resolve));
    return registry;
  }

  /** `127.0.0.1:<port>` */
  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  /** Puts an object in place of JSON, and returns its descriptor. */
  addBlob(content: Buffer | object, mediaType: string) {
    const bytes = Buffer.isBuffer(content) ? content : Buffer.from(JSON.stringify(content));
    const digest = digestOf(bytes);
    this.blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.byteLength };
  }

  addManifest(
    repository: string,
    { tag, document, mediaType }: { tag?: string; document: object | Buffer; mediaType: string },
  ) {
    const bytes = Buffer.isBuffer(document) ? document : Buffer.from(JSON.stringify(document));
    const digest = digestOf(bytes);
    this.manifests.set(`${repository}@${digest}`, { bytes, mediaType });
    if (tag !== undefined) this.manifests.set(`${repository}:${tag}`, { bytes, mediaType });
    return { mediaType, digest, size: bytes.byteLength };
  }

  /** An image whose layers have these contents (any bytes stand for a tar), gzipped. */
  addImage(
    repository: string,
    {
      tag,
      layers = [Buffer.from('layer')],
      config = {},
    }: { tag?: string; layers?: readonly Buffer[]; config?: object } = {},
  ) {
    const layerDescriptors = layers.map((tar) =>
      this.addBlob(gzipSync(tar, { level: 1 }), 'application/vnd.oci.image.layer.v1.tar+gzip'),
    );
    const configDescriptor = this.addBlob(
      {
        os: 'linux',
        architecture: 'amd64',
        rootfs: { type: 'layers', diff_ids: layers.map(digestOf) },
        ...config,
      },
      'application/vnd.oci.image.config.v1+json',
    );
    const document = {
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: configDescriptor,
      layers: layerDescriptors,
    };
    const manifest = this.addManifest(repository, {
      ...(tag === undefined ? {} : { tag }),
      document,
      mediaType: OCI_MANIFEST,
    });
    return { manifest, config: configDescriptor, layers: layerDescriptors };
  }

  /** Requests whose path holds `part`. */
  seen(part: string, method?: string): SeenRequest[] {
    return this.requests.filter(
      (request) =>
        request.path.includes(part) && (method === undefined || request.method === method),
    );
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const seen: SeenRequest = {
      method: request.method ?? '',
      path: request.url ?? '',
      headers: request.headers,
      body: Buffer.concat(chunks).toString(),
    };
    this.requests.push(seen);
    for (const misbehave of this.misbehaviours) if (await misbehave(seen, response)) return;
    this.#serve(seen, response);
  }

  #serve(request: SeenRequest, response: ServerResponse): void {
    const [, repository = '', kind, name = ''] =
      /^\/v2\/(.+)\/(manifests|blobs)\/([^/?]+)/.exec(request.path) ?? [];
    if (request.path === '/v2/') {
      response.writeHead(200).end('{}');
      return;
    }
    if (kind === 'manifests') {
      const found = this.manifests.get(
        name.startsWith('sha256:') ? `${repository}@${name}` : `${repository}:${name}`,
      );
      if (found === undefined) {
        refuse(response, 404, 'MANIFEST_UNKNOWN');
        return;
      }
      const headers = {
        'content-type': found.mediaType,
        'content-length': found.bytes.byteLength,
        'docker-content-digest': digestOf(found.bytes),
      };
      response.writeHead(200, headers).end(request.method === 'HEAD' ? undefined : found.bytes);
      return;
    }
    const blob = this.blobs.get(name as Digest);
    if (kind !== 'blobs' || blob === undefined) {
      refuse(response, 404, 'BLOB_UNKNOWN');
      return;
    }
    const start = Number(/^bytes=([0-9]+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const status = request.headers.range === undefined ? 200 : 206;
    const headers = {
      'content-length': blob.byteLength - start,
      ...(status === 206
        ? { 'content-range': `bytes ${start}-${blob.byteLength - 1}/${blob.byteLength}` }
        : {}),
    };
    response.writeHead(status, headers).end(blob.subarray(start));
  }
}

/** An error as registries send it. */
export function refuse(
  response: ServerResponse,
  status: number,
  code: string,
  headers: Record<string, string> = {},
): void {
  const body = JSON.stringify({ errors: [{ code, message: `because of ${code}` }] });
  const about = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  response.writeHead(status, { ...about, ...headers }).end(body);
}

/** Applies to the first `count` requests that match; the rest is left alone. */
export function times(
  count: number,
  matches: (request: SeenRequest) => boolean,
  act: (response: ServerResponse, request: SeenRequest) => void,
): Misbehaviour {
  let left = count;
  return (request, response) => {
    if (left === 0 || !matches(request)) return false;
    left--;
    act(response, request);
    return true;
  };
}

/** Guards everything by bearer tokens: `accepts` says which credentials get one (`undefined` for none). */
export function guardByToken(
  registry: FakeRegistry,
  {
    realm,
    accepts,
    lifetimeSeconds = 300,
  }: {
    realm?: string;
    accepts: (given: string | undefined) => boolean;
    lifetimeSeconds?: number;
  },
): { readonly valid: Set<string>; issued: number } {
  const state = { valid: new Set<string>(), issued: 0 };
  registry.misbehaviours.push((request, response) => {
    if (request.path.startsWith('/token')) {
      const form = new URLSearchParams(request.body);
      const given =
        request.headers.authorization ??
        (form.has('password')
          ? `${form.get('username')}:${form.get('password')}`
          : (form.get('refresh_token') ?? undefined));
      if (!accepts(given)) {
        refuse(response, 401, 'UNAUTHORIZED');
        return true;
      }
      const token = `token-${++state.issued}`;
      state.valid.add(`Bearer ${token}`);
      response.end(JSON.stringify({ token, expires_in: lifetimeSeconds }));
      return true;
    }
    if (state.valid.has(request.headers.authorization ?? '')) return false;
    const repository = /^\/v2\/(.+)\/(?:manifests|blobs)\//.exec(request.path)?.[1];
    const scope = repository === undefined ? '' : `,scope="repository:${repository}:pull"`;
    refuse(response, 401, 'UNAUTHORIZED', {
      'www-authenticate': `Bearer realm="${realm ?? `http://${registry.host}/token`}",service="fake"${scope}`,
    });
    return true;
  });
  return state;
}
