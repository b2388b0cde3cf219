import { afterEach, beforeEach } from 'vitest';
import type { Credential } from '../../src/auth/credential.js';
import type { BlobSink } from '../../src/registry/blob-sink.js';
import { RegistryClient } from '../../src/registry/client.js';
import { RegistryError } from '../../src/registry/registry-error.js';
import { Transport } from '../../src/registry/transport.js';
import { FakeRegistry, type SeenRequest } from '../fakes/registry.js';
import { CollectingSink } from './raw-server.js';

/** A registry that a test may make misbehave. */
export let registry: FakeRegistry;
/** Another origin. */
export let other: FakeRegistry;
/** Quick to retry and to give up. */
export let transport: Transport;

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

export function client(credential?: Credential): RegistryClient {
  return new RegistryClient({ transport, domain: registry.host, credential });
}

export function manifestRequest(reference = 'v1', signal?: AbortSignal) {
  return { path: 'p/app', reference, image: 'p/app:v1', maxBytes: 4_000_000, signal };
}

export async function failure(promise: Promise<unknown>): Promise<RegistryError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof RegistryError))
    throw new Error(`expected a RegistryError, got ${String(error)}`);
  return error;
}

/** What `pour` brings. */
export async function readAll(
  pour: (sink: BlobSink) => Promise<void>,
  sink = new CollectingSink(),
): Promise<Buffer> {
  await pour(sink);
  return sink.bytes;
}

export const isManifest = (request: SeenRequest) => request.path.includes('/manifests/');
export const isBlob = (request: SeenRequest) => request.path.includes('/blobs/');
