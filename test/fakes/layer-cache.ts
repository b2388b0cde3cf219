import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { type Digest, digestOf } from '../../src/digest.js';
import { NativeError } from '../../src/errors.js';
import type { CollectableLayers } from '../../src/image/collect.js';
import type { BegunLayer, LayerBytes, LayerCache, LayerIngest } from '../../src/image/unpack.js';

async function readAndClose(file: FileHandle): Promise<Buffer> {
  try {
    return await file.readFile();
  } finally {
    await file.close();
  }
}

/** A layer store that keeps blobs and remembers diff IDs, and makes no file system: for tests of what stands above it. */
export class FakeLayerCache implements LayerCache, CollectableLayers {
  readonly diffIds = new Set<Digest>();
  /** Ingests that are running now, and the most that ever ran at once. */
  running = 0;
  mostAtOnce = 0;

  has(diffId: Digest): boolean {
    return this.diffIds.has(diffId);
  }

  *list(): Iterable<{ diffId: Digest }> {
    for (const diffId of this.diffIds) yield { diffId };
  }

  async remove(diffId: Digest): Promise<void> {
    this.diffIds.delete(diffId);
  }

  syncLater(): void {}

  begin({ sizeBytes, source }: Parameters<LayerCache['begin']>[0]): BegunLayer {
    return new FakeBegunLayer(source, sizeBytes);
  }

  async ingest({
    digest,
    diffId,
    sizeBytes,
    blobPath,
    source,
    signal,
    onProgress,
  }: LayerIngest): Promise<void> {
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.running);
    try {
      const chunks: Uint8Array[] = [];
      let length = 0;
      const stored = existsSync(blobPath) ? readFileSync(blobPath) : undefined;
      const isIntact = stored !== undefined && digestOf(stored) === digest;
      const write = (chunk: Uint8Array) => {
        signal.throwIfAborted();
        // Its memory is used again.
        chunks.push(Uint8Array.from(chunk));
        length += chunk.byteLength;
        onProgress(length);
        return true;
      };
      if (isIntact) write(stored);
      else if ('pour' in source && source.early instanceof FakeBegunLayer) {
        write(await source.early.finish(signal));
      } else if ('pour' in source) await source.pour({ write, drained: async () => {} }, signal);
      else write(await readAndClose(await source.openFile()));
      const blob = Buffer.concat(chunks);
      const fail = (code: string) => new NativeError({ code, message: `expected ${digest}` });
      if (blob.byteLength !== sizeBytes) throw fail('SIZE_MISMATCH');
      if (digestOf(blob) !== digest) throw fail('DIGEST_MISMATCH');
      const tar = blob[0] === 0x1f ? gunzipSync(blob) : blob;
      if (`sha256:${createHash('sha256').update(tar).digest('hex')}` !== diffId)
        throw fail('DIFF_ID_MISMATCH');
      mkdirSync(dirname(blobPath), { recursive: true });
      writeFileSync(`${blobPath}.new`, blob);
      renameSync(`${blobPath}.new`, blobPath);
      this.diffIds.add(diffId);
    } finally {
      this.running--;
      if ('pour' in source) await source.early?.discard();
    }
  }
}

class FakeBegunLayer implements BegunLayer {
  readonly #ended = new AbortController();
  readonly #bytes: Promise<Buffer>;

  constructor(source: LayerBytes, sizeBytes: number) {
    this.#bytes = this.#pour(source, sizeBytes);
    this.#bytes.catch(() => undefined);
  }

  async finish(signal: AbortSignal): Promise<Buffer> {
    if (signal.aborted) this.#ended.abort(signal.reason);
    signal.addEventListener('abort', () => this.#ended.abort(signal.reason));
    return this.#bytes;
  }

  async discard(): Promise<void> {
    this.#ended.abort(new Error('The layer is not needed'));
    await this.#bytes.catch(() => undefined);
  }

  async #pour(source: LayerBytes, sizeBytes: number): Promise<Buffer> {
    if (!('pour' in source)) throw new Error('Only what is poured can be begun early');
    const chunks: Uint8Array[] = [];
    const write = (chunk: Uint8Array) => {
      this.#ended.signal.throwIfAborted();
      return chunks.push(Uint8Array.from(chunk)) > 0;
    };
    await source.pour({ write, drained: async () => {} }, this.#ended.signal);
    const bytes = Buffer.concat(chunks);
    if (bytes.byteLength !== sizeBytes)
      throw new Error(`${bytes.byteLength} of ${sizeBytes} bytes`);
    return bytes;
  }
}
