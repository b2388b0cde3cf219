import { createReadStream } from 'node:fs';
import { InvalidArgumentError } from '../errors.js';
import { MAX_MANIFEST_BYTES, type ManifestObject, parseManifest } from '../objects/manifest.js';

/**
 * Reads the objects of a manifest file, `-` being standard input; reading ends a little beyond the largest size that is accepted.
 * @throws InvalidArgumentError when the file cannot be read or holds nothing. @throws ManifestError
 */
export async function readManifestFile(path: string): Promise<ManifestObject[]> {
  const source = path === '-' ? 'standard input' : path;
  const objects = parseManifest(await readBounded(path), source);
  if (objects.length === 0) throw new InvalidArgumentError(`${source}: holds no object`);
  return objects;
}

async function readBounded(path: string): Promise<string> {
  const stream = path === '-' ? process.stdin : createReadStream(path);
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of stream) {
      chunks.push(chunk as Buffer);
      bytes += (chunk as Buffer).length;
      if (bytes > MAX_MANIFEST_BYTES) break;
    }
  } catch (cause) {
    const reason =
      (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file' : String(cause);
    throw new InvalidArgumentError(`Cannot read manifest "${path}": ${reason}`);
  }
  return Buffer.concat(chunks).toString('utf8');
}
