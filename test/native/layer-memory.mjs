// Puts the layer on standard input through one LayerJob and prints, as JSON, its result and by how many bytes the peak memory
// of the process has grown.
//   node layer-memory.mjs ADDON DIRECTORY FORM write|readFrom
import { readFileSync, readSync } from 'node:fs';
import { createRequire } from 'node:module';

const [addon = '', directory = '', form = '', how = ''] = process.argv.slice(2);
const { LayerJob } = createRequire(import.meta.url)(addon);

function peakBytes() {
  const status = readFileSync('/proc/self/status', 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

let drained = () => {};
// One buffer for all reads: garbage of JavaScript must not count.
const buffer = Buffer.alloc(65_536);
const before = peakBytes();
const job = new LayerJob({
  form,
  directory,
  saveBlob: true,
  expectedDigest: null,
  expectedSizeBytes: null,
  expectedDiffId: null,
  limits: { maxTarBytes: 2 ** 40, maxEntries: 1e6, maxMetadataBytes: 2 ** 28, reserveBytes: 0 },
  onDrain: () => drained(),
});
if (how === 'readFrom') {
  job.readFrom(0);
} else {
  for (let length = -1; length !== 0; ) {
    length = readSync(0, buffer);
    const room = job.write(buffer.subarray(0, length));
    if (!room) {
      await new Promise((resolve) => {
        drained = () => resolve(undefined);
      });
    }
  }
}
const { tarBytes, compression, entries } = await job.finish();
console.log(JSON.stringify({ tarBytes, compression, entries, grownBytes: peakBytes() - before }));
