import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { type Digest, digestOf } from '../../src/digest.js';
import { NativeError } from '../../src/errors.js';
import type { CollectableLayers } from '../../src/image/collect.js';
import type { LayerCache, LayerIngest } from '../../src/image/unpack.js';

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
      else if ('pour' in source) await source.pour({ write, drained: async () => {} }, signal);
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
    }
  }
}
