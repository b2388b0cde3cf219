import type { Credential } from '../auth/credential.js';
import { type Digest, digestOf, isDigest } from '../digest.js';
import { type Authorization, Authorizer } from './authorizer.js';
import type { BlobSink } from './blob-sink.js';
import { pourBlob } from './blob-stream.js';
import { allowsPlainHttp, isLocalOnlyHost, type RegistryEndpoint, registryHost } from './hosts.js';
import { endpointOf } from './hosts-directory.js';
import {
  errorForStatus,
  MAX_ERROR_BODY_BYTES,
  parseErrorBody,
  RegistryError,
} from './registry-error.js';
import { readBounded } from './response-body.js';
import {
  connectionError,
  isTransientFault,
  type Transport,
  type TransportRequest,
  type TransportResponse,
} from './transport.js';

export interface RegistryClientOptions {
  readonly transport: Transport;
  /** Registry host as references name it. */
  readonly domain: string;
  readonly credential?: Credential | undefined;
  /** Which host to ask, when it is not the registry itself, or not as usual. */
  readonly endpoint?: RegistryEndpoint | undefined;
  /** See {@link TransportRequest.hasAlternative}. */
  readonly hasAlternative?: boolean | undefined;
}

/** A manifest or index as fetched; its bytes hash to `digest`. */
export interface FetchedManifest {
  readonly digest: Digest;
  readonly bytes: Buffer;
  /** Content-Type of the answer. */
  readonly mediaType: string | undefined;
}

export interface BlobRequest {
  /** Repository path, `library/busybox`. */
  readonly path: string;
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** For errors: the image that the user asked for. */
  readonly image: string;
  readonly signal?: AbortSignal | undefined;
}

export interface LayerRequest extends BlobRequest {
  /** An answer of {@link RegistryClient.openBlob} to begin with, if there is one; it is asked once. */
  readonly opened?: (() => Promise<TransportResponse | undefined>) | undefined;
}

export interface ManifestRequest {
  readonly path: string;
  /** A tag or a digest. */
  readonly reference: string;
  readonly image: string;
  readonly maxBytes: number;
  readonly signal?: AbortSignal | undefined;
}

const MANIFEST_ACCEPT = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  '*/*',
].join(', ');

type DocumentRequest = Pick<TransportRequest, 'url' | 'what' | 'signal'> & {
  readonly path: string;
  readonly accept: string;
};

const MAX_DOCUMENT_ATTEMPTS = 3;

/** A registry may ask again when a remembered token has run out early; never more often than this. */
const MAX_AUTHORIZATIONS = 3;

/**
 * One registry, as one user. Requests start without credentials; a challenge is answered, and the answer remembered.
 * @see OCI distribution-spec v1.1, "Pulling"
 */
export class RegistryClient {
  readonly host: RegistryEndpoint;
  readonly #transport: Transport;
  readonly #hasAlternative: boolean;
  readonly #authorizer: Authorizer;

  constructor({ transport, domain, credential, ...options }: RegistryClientOptions) {
    this.#transport = transport;
    this.host = options.endpoint ?? endpointOf(registryHost(domain, transport.insecureRegistries));
    this.#hasAlternative = options.hasAlternative ?? false;
    const { origin, headers } = this.host;
    this.#authorizer = new Authorizer({ transport, registryOrigin: origin, headers, credential });
  }

  /**
   * Asks which digest a tag has now, without fetching the manifest (registries count fetches). Undefined when the registry
   * does not say: then only {@link fetchManifest} can tell, or say why not.
   * @throws RegistryError
   */
  async resolveTag(request: ManifestRequest): Promise<Digest | undefined> {
    const what = `Cannot pull "${request.image}": manifest`;
    const response = await this.#send({
      ...request,
      what,
      method: 'HEAD',
      url: this.#manifestUrl(request),
    });
    await response.body.discard();
    if (response.status === 401)
      throw errorForStatus(401, { what, host: response.host, body: NOTHING_SAID });
    return response.status === 200 ? announcedDigest(response, what) : undefined;
  }

  /**
   * Fetches a manifest or index. By digest, the bytes must hash to it; by tag, they must hash to what the registry announces.
   * @throws RegistryError
   */
  async fetchManifest(request: ManifestRequest): Promise<FetchedManifest> {
    const what = `Cannot pull "${request.image}": manifest`;
    const { response, bytes } = await this.#getDocument({
      ...request,
      what,
      url: this.#manifestUrl(request),
      accept: MANIFEST_ACCEPT,
    });
    const expected = isDigest(request.reference)
      ? request.reference
      : announcedDigest(response, what);
    const digest = digestOf(bytes);
    if (expected !== undefined && digest !== expected) throw digestMismatch(what, expected, digest);
    const mediaType = response.headers['content-type'];
    return { digest, bytes, mediaType: typeof mediaType === 'string' ? mediaType : undefined };
  }

  /**
   * Fetches a blob that fits into memory, and verifies digest and size.
   * @throws RegistryError
   */
  async fetchBlob(request: BlobRequest): Promise<Buffer> {
    const what = `Cannot pull "${request.image}": config`;
    const { bytes } = await this.#getDocument({
      ...request,
      what,
      url: this.#blobUrl(request),
      accept: '*/*',
      maxBytes: request.sizeBytes,
    });
    if (bytes.byteLength !== request.sizeBytes) {
      throw new RegistryError(
        'SIZE_MISMATCH',
        `${what}: expected ${request.sizeBytes} bytes, received ${bytes.byteLength}`,
      );
    }
    const digest = digestOf(bytes);
    if (digest !== request.digest) throw digestMismatch(what, request.digest, digest);
    return bytes;
  }

  /**
   * Begins to fetch a large blob. The caller pours or discards the body of the answer.
   * @throws RegistryError
   */
  async openBlob(request: BlobRequest, offsetBytes = 0): Promise<TransportResponse> {
    const what = layerOf(request);
    const url = this.#blobUrl(request);
    const headers = { accept: '*/*', ...rangeHeaders(offsetBytes) };
    const asked = { ...request, what, method: 'GET' as const, url, headers };
    return expectContent(await this.#send(asked, 'sendForBlob'), what);
  }

  /**
   * Pours a blob from `offsetBytes` on, over as many connections as it takes. Its length is checked, its digest is not.
   * @throws RegistryError; what `sink` throws.
   */
  async pourBlob(request: LayerRequest, sink: BlobSink, offsetBytes: number): Promise<void> {
    const { opened, ...asked } = request;
    const place = { what: layerOf(request), url: this.#blobUrl(request), offsetBytes };
    let early = offsetBytes === 0 ? await opened?.() : undefined;
    const open = async (offset: number) => {
      const answer = early ?? (await this.openBlob(asked, offset));
      early = undefined;
      return answer;
    };
    return pourBlob({ ...asked, ...place, open }, sink);
  }

  /**
   * Pours a foreign layer from one of the addresses in its descriptor: without credentials, by HTTPS unless plain HTTP is allowed there.
   * @throws RegistryError; what `sink` throws.
   */
  async pourForeignBlob(
    request: BlobRequest,
    sink: BlobSink,
    { url, offsetBytes }: { readonly url: string; readonly offsetBytes: number },
  ): Promise<void> {
    const what = `Cannot pull "${request.image}": foreign layer ${request.digest}`;
    const target = URL.canParse(url) ? new URL(url) : undefined;
    const isPlain =
      target?.protocol === 'http:' && allowsPlainHttp(target, this.#transport.insecureRegistries);
    const isLocal = target !== undefined && isLocalOnlyHost(target.hostname);
    const registryIsLocal = isLocalOnlyHost(new URL(this.host.origin).hostname);
    if (
      target === undefined ||
      (target.protocol !== 'https:' && !isPlain) ||
      (isLocal && !registryIsLocal)
    ) {
      throw new RegistryError('BAD_RESPONSE', `${what}: its address is not allowed`);
    }
    const open = async (offset: number) => {
      const headers = rangeHeaders(offset);
      const asked = { ...request, what, url: target, headers };
      return expectContent(await this.#transport.sendForBlob(asked), what);
    };
    return pourBlob({ ...request, what, url: target, offsetBytes, open }, sink);
  }

  /**
   * Checks that the registry is there and takes the credential (`login`).
   * @throws RegistryError
   */
  async ping({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    const what = `Cannot log in to ${this.host.domain}`;
    const url = new URL(`${this.host.origin}${this.host.apiPath}/`);
    const response = await this.#send({ method: 'GET', url, what, signal });
    await (await expectContent(response, what)).body.discard();
  }

  /** Fetches what is read as a whole; a body that breaks is asked for again. */
  async #getDocument(
    request: DocumentRequest & { readonly maxBytes: number },
  ): Promise<{ readonly response: TransportResponse; readonly bytes: Buffer }> {
    for (let attempt = 1; ; attempt++) {
      const response = await this.#get(request);
      try {
        return { response, bytes: await readDocument(response, request) };
      } catch (error) {
        request.signal?.throwIfAborted();
        if (attempt === MAX_DOCUMENT_ATTEMPTS || !isTransientFault(error)) {
          throw connectionError(request, error);
        }
      }
    }
  }

  async #get(request: DocumentRequest): Promise<TransportResponse> {
    const headers = { accept: request.accept };
    return expectContent(await this.#send({ ...request, method: 'GET', headers }), request.what);
  }

  /** Sends with what is remembered, and answers challenges of the registry itself (never those of a host it redirects to). */
  async #send(
    request: Pick<TransportRequest, 'method' | 'url' | 'what' | 'signal'> & {
      readonly path?: string;
      readonly headers?: Readonly<Record<string, string>>;
    },
    by: 'send' | 'sendForBlob' = 'send',
  ): Promise<TransportResponse> {
    const { what, signal, path } = request;
    const scopes = path === undefined ? [] : [`repository:${path}:pull`];
    const base = request.headers ?? { accept: MANIFEST_ACCEPT };
    let authorization = this.#authorizer.remembered(scopes);
    for (let attempt = 0; ; attempt++) {
      const headers =
        authorization === undefined ? base : { ...base, authorization: authorization.value };
      const response = await this.#transport[by]({
        ...request,
        headers,
        ownHeaders: this.host.headers,
        hasAlternative: this.#hasAlternative,
      });
      const isFinal = authorization?.isFresh === true || attempt === MAX_AUTHORIZATIONS;
      if (response.status !== 401 || isFinal || response.host !== request.url.host) return response;
      await response.body.discard();
      const refused: Authorization | undefined = authorization;
      authorization = await this.#authorizer.answer(response, { scopes, refused, what, signal });
    }
  }

  #manifestUrl({ path, reference }: ManifestRequest): URL {
    return this.#url(`${path}/manifests/${reference}`);
  }

  #blobUrl({ path, digest }: BlobRequest): URL {
    return this.#url(`${path}/blobs/${digest}`);
  }

  #url(path: string): URL {
    const { origin, apiPath, isMirror, domain } = this.host;
    const url = new URL(`${origin}${apiPath}/${path}`);
    // A mirror may serve several registries. @see OCI distribution-spec v1.1, "Registry Proxying"
    if (isMirror) url.searchParams.set('ns', domain);
    return url;
  }
}

const NOTHING_SAID = { code: undefined, text: '' };

function layerOf({ image, digest }: BlobRequest): string {
  return `Cannot pull "${image}": layer ${digest}`;
}

function rangeHeaders(offset: number): Record<string, string> {
  return offset === 0 ? {} : { range: `bytes=${offset}-` };
}

/** Passes 200 and 206 on; everything else becomes an error with what the body says. */
async function expectContent(
  response: TransportResponse,
  what: string,
): Promise<TransportResponse> {
  if (response.status === 200 || response.status === 206) return response;
  const body = await readBounded(response.body, MAX_ERROR_BODY_BYTES).catch(() => undefined);
  const text = body?.isComplete === true ? body.bytes.toString('utf8') : '';
  throw errorForStatus(response.status, { what, host: response.host, body: parseErrorBody(text) });
}

async function readDocument(
  response: TransportResponse,
  { what, maxBytes }: { readonly what: string; readonly maxBytes: number },
): Promise<Buffer> {
  const refuse = (size: string) =>
    new RegistryError(
      'LIMIT_EXCEEDED',
      `${what}: ${response.host} sends ${size}, more than ${maxBytes} bytes`,
    );
  const announced = Number(response.headers['content-length'] ?? 0);
  if (announced > maxBytes) {
    await response.body.discard();
    throw refuse(`${announced} bytes`);
  }
  const { bytes, isComplete } = await readBounded(response.body, maxBytes);
  if (!isComplete) throw refuse('too much');
  return bytes;
}

/** The digest in the answer's head. @throws RegistryError `BAD_RESPONSE` when there is one that is none (contract E18). */
function announcedDigest(response: TransportResponse, what: string): Digest | undefined {
  const digest = response.headers['docker-content-digest'];
  if (digest === undefined || isDigest(digest)) return digest;
  const shown = JSON.stringify(digest).slice(0, 100);
  throw new RegistryError(
    'BAD_RESPONSE',
    `${what}: ${response.host} announces the digest ${shown}, which is none`,
  );
}

function digestMismatch(what: string, expected: Digest, found: Digest): RegistryError {
  return new RegistryError(
    'DIGEST_MISMATCH',
    `${what}: expected ${expected}, the bytes received are ${found}`,
  );
}
