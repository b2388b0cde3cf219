import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { type ConfigOptions, loadConfig } from './config.js';
import { ConfigError } from './config-checks.js';
import { InvalidArgumentError, NotFoundError } from './errors.js';

/** Read when there is one and no other file is named. */
export const DEFAULT_CONFIG_PATH = '/etc/cais/config.yaml';

const MAX_FILE_BYTES = 1 << 20;

/**
 * Settings of a configuration file, YAML or JSON, checked. The parser is loaded only when there is a file.
 * @param path Must exist; absent: {@link DEFAULT_CONFIG_PATH}, if that exists.
 * @throws NotFoundError; InvalidArgumentError naming file, line and key.
 */
export async function readConfigFile(path?: string): Promise<ConfigOptions> {
  const file = path ?? DEFAULT_CONFIG_PATH;
  const text = await readText(file);
  if (text !== undefined) return parseConfigFile(text, file);
  if (path === undefined) return {};
  throw new NotFoundError(`Configuration file "${file}" does not exist`);
}

/**
 * Parses the text of a configuration file.
 * @throws InvalidArgumentError naming file, line and key.
 */
export async function parseConfigFile(text: string, file: string): Promise<ConfigOptions> {
  const { isMap, isScalar, LineCounter, parseDocument } = await import('yaml');
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, uniqueKeys: true, prettyErrors: false });
  const fail = (offset: number | undefined, problem: string): never => {
    const line = offset === undefined ? 0 : lineCounter.linePos(offset).line;
    throw new InvalidArgumentError(`${file}${line > 0 ? `:${line}` : ''}: ${problem}`);
  };
  const [error] = document.errors;
  if (error !== undefined) fail(error.pos[0], error.message.split('\n', 1)[0] ?? '');
  const { contents } = document;
  if (contents === null || (isScalar(contents) && contents.value === null)) return {};
  if (!isMap(contents)) fail(0, 'expected a map of settings');

  let settings: ConfigOptions;
  try {
    settings = document.toJS({ maxAliasCount: 100 }) as ConfigOptions;
  } catch (reason) {
    return fail(undefined, reason instanceof Error ? reason.message : String(reason));
  }
  try {
    loadConfig(settings);
    return settings;
  } catch (reason) {
    if (!(reason instanceof ConfigError)) throw reason;
    return fail(offsetOf(reason.keyPath), reason.message);
  }

  /** Of the key, or of what encloses it. */
  function offsetOf(keyPath: readonly string[]): number | undefined {
    let node: unknown = contents;
    let offset: number | undefined;
    for (const key of keyPath) {
      if (!isMap(node)) break;
      const pair = node.items.find((item) => String(item.key) === key);
      if (pair === undefined) break;
      offset = (pair.key as { range?: readonly number[] | null }).range?.[0] ?? offset;
      node = pair.value;
    }
    return offset;
  }
}

/** Undefined when there is no file. */
async function readText(path: string): Promise<string | undefined> {
  try {
    // A pipe under this name must not hold a thread.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = await file.stat();
      if (!stats.isFile()) throw new InvalidArgumentError(`${path}: not a file`);
      if (stats.size > MAX_FILE_BYTES) {
        throw new InvalidArgumentError(`${path}: larger than ${MAX_FILE_BYTES} bytes`);
      }
      const buffer = Buffer.alloc(MAX_FILE_BYTES);
      const { bytesRead } = await file.read(buffer, 0, buffer.byteLength, 0);
      return buffer.toString('utf8', 0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    if (error instanceof InvalidArgumentError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new InvalidArgumentError(
      `Cannot read the configuration file "${path}": ${code ?? message}`,
      {
        cause: error,
      },
    );
  }
}
