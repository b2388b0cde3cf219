import type { Credential } from '../auth/credential.js';
import type { Digest } from '../digest.js';
import { type BlobSink, CountingSink } from './blob-sink.js';
import {
  type BlobRequest,
  type FetchedManifest,
  type LayerRequest,
  type ManifestRequest,
  RegistryClient,
} from './client.js';
import { type RegistryEndpoint, registryName } from './hosts.js';
import { RegistryError, type RegistryErrorCode } from './registry-error.js';
import type { Transport, TransportResponse } from './transport.js';

export interface MirroredClientOptions {
  readonly transport: Transport;
  /** Registry host as references name it. */
  readonly domain: string;
  /** Asked in this order; at least one. */
  readonly endpoints: readonly RegistryEndpoint[];
  /** Credentials for the registry that has this name, best first; empty: anonymous. Asked for the name of each host that is used. */
  readonly credentialsFor: (registry: string) => Promise<readonly Credential[]>;
}

/** How much an error of one of several hosts tells about the image; of equals, the last one is reported. */
const WEIGHTS: Readonly<Partial<Record<RegistryErrorCode, number>>> = {
  UNAUTHORIZED: 3,
  DENIED: 3,
  NOT_FOUND: 2,
  UNAVAILABLE: 0,
  TIMED_OUT: 0,
};

/**
 * A registry with its mirrors, for one pull: each request goes to one host after the other until one delivers. A host that could not be reached is not asked
 * again while there are others. Each host gets the credentials kept under its own name, one after the other when they are refused.
 * @see contracts/kubernetes-semantics.md E35 to E38
 */
export class MirroredClient {
  readonly #options: MirroredClientOptions;
  readonly #doors: readonly Door[];

  constructor(options: MirroredClientOptions) {
    this.#options = options;
    const last = options.endpoints.map(({ capabilities }) => capabilities.pull).lastIndexOf(true);
    this.#doors = options.endpoints.map((endpoint, i) => {
      const hasAlternative = i < last;
      return new Door(endpoint, { ...options, hasAlternative });
    });
  }

  /** Whether some host may deliver content, but not say what a tag means: then the digest is asked for first, elsewhere. */
  get resolvesApart(): boolean {
    return this.#doors.some(({ can }) => can.pull && !can.resolve);
  }

  /** As {@link RegistryClient.resolveTag}. */
  async resolveTag(request: ManifestRequest): Promise<Digest | undefined> {
    return this.#ask({ ...request, what: 'manifest', needs: 'resolve' }, (client) =>
      client.resolveTag(request),
    );
  }

  /** As {@link RegistryClient.fetchManifest}. */
  async fetchManifest(request: ManifestRequest): Promise<FetchedManifest> {
    const needs = request.reference.includes(':') ? 'pull' : 'resolve';
    return this.#demand({ ...request, what: 'manifest', needs }, (client) =>
      client.fetchManifest(request),
    );
  }

  /** As {@link RegistryClient.fetchBlob}. */
  async fetchBlob(request: BlobRequest): Promise<Buffer> {
    return this.#demand({ ...request, what: 'config', needs: 'pull' }, (client) =>
      client.fetchBlob(request),
    );
  }

  /** As {@link RegistryClient.openBlob}. */
  async openBlob(request: BlobRequest): Promise<TransportResponse> {
    return this.#demand(layerQuestion(request), (client) => client.openBlob(request));
  }

  /** As {@link RegistryClient.pourBlob}; the next host goes on where one has stopped. */
  async pourBlob(request: LayerRequest, sink: BlobSink, offsetBytes: number): Promise<void> {
    const counting = new CountingSink(sink);
    await this.#demand(layerQuestion(request), async (client) => {
      await client.pourBlob(request, counting, offsetBytes + counting.bytes);
      return true;
    });
  }

  /** As {@link RegistryClient.pourForeignBlob}: what the configuration says of this registry's hosts does not hold for others. */
  async pourForeignBlob(
    request: BlobRequest,
    sink: BlobSink,
    place: { readonly url: string; readonly offsetBytes: number },
  ): Promise<void> {
    await new RegistryClient(this.#options).pourForeignBlob(request, sink, place);
  }

  /** As {@link RegistryClient.ping}, of the last host: the registry itself or what stands in for it. */
  async ping(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    await this.#doors.at(-1)?.ask((client) => client.ping(options));
  }

  async close(): Promise<void> {
    for (const door of this.#doors) await door.close();
  }

  async #demand<T>(question: Question, action: (client: RegistryClient) => Promise<T>): Promise<T> {
    const answer = await this.#ask(question, action);
    if (answer !== undefined) return answer;
    const { image, what } = question;
    const { domain } = this.#options;
    throw new RegistryError(
      'UNAVAILABLE',
      `Cannot pull "${image}": ${what}: hosts.toml names no host for ${domain} with the capability "${question.needs}"`,
    );
  }

  /** The first answer that is one; undefined when there is none, and none has failed. */
  async #ask<T>(
    { needs, signal, image, what }: Question,
    action: (client: RegistryClient) => Promise<T | undefined>,
  ): Promise<T | undefined> {
    const able = this.#doors.filter(({ can }) => can.pull && can[needs]);
    const reachable = able.filter(({ isDown }) => !isDown);
    const errors: RegistryError[] = [];
    for (const door of reachable.length === 0 ? able : reachable) {
      try {
        const answer = await door.ask(action);
        if (answer !== undefined) return answer;
      } catch (error) {
        signal?.throwIfAborted();
        // Anything else is a fault of this machine: another host would not change it.
        if (!(error instanceof RegistryError)) throw error;
        errors.push(error);
      }
    }
    if (errors.length > 0) throw mostInformative(errors, `Cannot pull "${image}": ${what}`);
    return undefined;
  }
}

/** What is asked, and which capability it takes. */
interface Question {
  readonly image: string;
  readonly what: string;
  readonly needs: 'pull' | 'resolve';
  readonly signal?: AbortSignal | undefined;
}

function layerQuestion({ image, digest, signal }: BlobRequest): Question {
  return { image, signal, what: `layer ${digest}`, needs: 'pull' };
}

/** One host with its clients, one for each credential. */
class Door {
  /** It could not be reached during this pull. */
  isDown = false;
  readonly #endpoint: RegistryEndpoint;
  readonly #options: MirroredClientOptions & { readonly hasAlternative: boolean };
  /** Of its own, where the configuration says how to connect. */
  #transport: Promise<Transport> | undefined;
  #clients: Promise<readonly RegistryClient[]> | undefined;
  /** The client whose credential was taken last. */
  #current = 0;

  constructor(
    endpoint: RegistryEndpoint,
    options: MirroredClientOptions & { readonly hasAlternative: boolean },
  ) {
    this.#endpoint = endpoint;
    this.#options = options;
  }

  get can() {
    return this.#endpoint.capabilities;
  }

  /** @throws RegistryError of the last credential that was tried. */
  async ask<T>(action: (client: RegistryClient) => Promise<T>): Promise<T> {
    this.#clients ??= this.#openClients();
    const clients = await this.#clients;
    for (let i = this.#current; ; i++) {
      try {
        const answer = await action(clients[i] as RegistryClient);
        this.#current = Math.max(this.#current, i);
        return answer;
      } catch (error) {
        const code = error instanceof RegistryError ? error.code : undefined;
        if (code === 'UNAVAILABLE' || code === 'TIMED_OUT') this.isDown = true;
        const isRefused = code === 'UNAUTHORIZED' || code === 'DENIED';
        if (!isRefused || i + 1 >= clients.length) throw error;
      }
    }
  }

  async close(): Promise<void> {
    // One that did not open was reported to whoever asked.
    const transport = await this.#transport?.catch(() => undefined);
    await transport?.close();
  }

  async #openClients(): Promise<readonly RegistryClient[]> {
    const { domain, credentialsFor, hasAlternative } = this.#options;
    const { connection, isMirror, host } = this.#endpoint;
    if (connection !== undefined)
      this.#transport ??= this.#options.transport.withConnection(connection);
    const transport = (await this.#transport) ?? this.#options.transport;
    const credentials = await credentialsFor(isMirror ? registryName(host) : domain);
    const each = { transport, domain, endpoint: this.#endpoint, hasAlternative };
    return credentials.length === 0
      ? [new RegistryClient(each)]
      : credentials.map((credential) => new RegistryClient({ ...each, credential }));
  }
}

/** One error for all: the one that tells most about the image, with what the other hosts said. */
function mostInformative(errors: readonly RegistryError[], what: string): RegistryError {
  const weight = ({ code }: RegistryError) => WEIGHTS[code] ?? 1;
  const best = errors.reduce((one, other) => (weight(other) >= weight(one) ? other : one));
  if (errors.length === 1) return best;
  const others = errors.filter((error) => error !== best);
  const said = others.map(({ message }) => message.replace(`${what}: `, '')).join('; ');
  return new RegistryError(best.code, `${best.message} (other hosts: ${said.slice(0, 1000)})`, {
    status: best.status,
    registryCode: best.registryCode,
    cause: best,
  });
}
