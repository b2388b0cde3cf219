import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { describeError, InvalidArgumentError, NotFoundError } from '../errors.js';
import { type CdiDevice, type CdiSpec, parseCdiName, parseCdiSpec } from './cdi-spec.js';

/** Where device vendors put their files, the later directory wins. */
export const CDI_DIRECTORIES: readonly string[] = ['/etc/cdi', '/var/run/cdi'];

const MAX_FILE_BYTES = 4 * 2 ** 20;
const MAX_FILES = 1000;
const MAX_ALIASES = 100;

/** A device and the file that describes it. */
export interface FoundDevice {
  readonly name: string;
  readonly device: CdiDevice;
  readonly spec: CdiSpec;
}

interface SpecFile {
  readonly path: string;
  /** Place of its directory; the higher one wins. */
  readonly priority: number;
  readonly spec: CdiSpec;
}

/**
 * Finds devices by their full names, `vendor.com/class=name`, in the files of CDI directories (`*.yaml`, `*.yml`, `*.json`), read anew: vendors write
 * them at any time. A device that two files of one directory describe is refused, as is one whose file cannot be used.
 * @throws InvalidArgumentError for what is no device name; NotFoundError naming the devices that no file describes, and the files that were unusable.
 */
export async function findCdiDevices(
  names: readonly string[],
  directories: readonly string[] = CDI_DIRECTORIES,
): Promise<FoundDevice[]> {
  const wanted = [...new Set(names)].map((name) => {
    const parsed = parseCdiName(name);
    if (parsed === undefined) {
      throw new InvalidArgumentError(
        `CDI device ${JSON.stringify(name.slice(0, 200))}: expected a name such as "vendor.com/class=name"`,
      );
    }
    return { name, ...parsed };
  });
  if (wanted.length === 0) return [];
  const { files, problems } = await readDirectories(directories);
  const missing: string[] = [];
  const found: FoundDevice[] = [];
  for (const { name, kind, device } of wanted) {
    const match = bestMatch(files, { name, kind, device });
    if (match === undefined) missing.push(name);
    else found.push(match);
  }
  if (missing.length > 0) {
    const unusable = problems.length === 0 ? '' : `; unusable files: ${problems.join('; ')}`;
    throw new NotFoundError(
      `no file in ${directories.join(' or ')} describes the CDI device ${missing.map((name) => `"${name}"`).join(', ')}${unusable}`,
    );
  }
  return found;
}

function bestMatch(
  files: readonly SpecFile[],
  { name, kind, device }: { name: string; kind: string; device: string },
): FoundDevice | undefined {
  const matches = files.flatMap((file) => {
    const match = file.spec.devices.find((each) => each.name === device);
    return file.spec.kind === kind && match !== undefined ? [{ file, device: match }] : [];
  });
  const highest = Math.max(...matches.map(({ file }) => file.priority));
  const [best, rival] = matches.filter(({ file }) => file.priority === highest);
  if (best === undefined) return undefined;
  if (rival !== undefined) {
    throw new InvalidArgumentError(
      `CDI device "${name}" is described by both "${best.file.path}" and "${rival.file.path}"`,
    );
  }
  return { name, device: best.device, spec: best.file.spec };
}

async function readDirectories(
  directories: readonly string[],
): Promise<{ files: SpecFile[]; problems: string[] }> {
  const files: SpecFile[] = [];
  const problems: string[] = [];
  for (const [priority, directory] of directories.entries()) {
    for (const name of await specFilesOf(directory)) {
      const path = join(directory, name);
      if (files.length + problems.length >= MAX_FILES) {
        throw new InvalidArgumentError(`more than ${MAX_FILES} files in ${directories.join(', ')}`);
      }
      try {
        files.push({ path, priority, spec: parseCdiText(await readBounded(path)) });
      } catch (error) {
        problems.push(`"${path}": ${describeError(error)}`.slice(0, 300));
      }
    }
  }
  return { files, problems };
}

/**
 * Reads the text of one CDI file, YAML or JSON.
 * @throws InvalidArgumentError when it is neither, or no CDI file.
 */
export function parseCdiText(content: string): CdiSpec {
  let value: unknown;
  try {
    value = parse(content, { maxAliasCount: MAX_ALIASES, logLevel: 'error' });
  } catch (cause) {
    throw new InvalidArgumentError('the file is neither YAML nor JSON', { cause });
  }
  return parseCdiSpec(value);
}

async function specFilesOf(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).filter((name) => /^[^.].*\.(ya?ml|json)$/.test(name)).sort();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw error;
  }
}

async function readBounded(path: string): Promise<string> {
  const file = await open(path);
  try {
    const info = await file.stat();
    if (!info.isFile()) throw new InvalidArgumentError('it is no regular file');
    if (info.size > MAX_FILE_BYTES) {
      throw new InvalidArgumentError(`it is larger than ${MAX_FILE_BYTES} bytes`);
    }
    const buffer = Buffer.alloc(info.size);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}
