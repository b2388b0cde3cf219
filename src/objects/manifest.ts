import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
  type ScalarTag,
} from 'yaml';
import { RuntimeError, type RuntimeErrorOptions } from '../errors.js';

/** Largest manifest that is read, in bytes. */
export const MAX_MANIFEST_BYTES = 1024 * 1024;
/** How often one file may repeat anchored nodes when aliases are resolved: "billion laughs" ends here. */
const MAX_ALIASES = 100;
/** Objects in one file. */
const MAX_DOCUMENTS = 100;

/** Steps from the root of a document to a value. */
export type FieldPath = readonly (string | number)[];

/** The text is no YAML that cais accepts (`INVALID_MANIFEST`). */
export class ManifestError extends RuntimeError {
  /** File and line, as far as known: `pod.yaml:3`. */
  readonly source: string;

  constructor(source: string, problem: string, options?: RuntimeErrorOptions) {
    super('INVALID_MANIFEST', `${source}: ${problem}`, options);
    this.source = source;
  }
}

/** One object of a manifest file, with what is needed to name lines of it. */
export interface ManifestObject {
  /** Plain data; null members of maps are left out, as the API server sees them. */
  readonly value: unknown;
  /** Where the file came from, for messages. */
  readonly source: string;
  /** One-based line of the field at `path`, or of the nearest enclosing one that exists. */
  lineOf(path: FieldPath): number;
}

/**
 * Reads YAML or JSON: core schema 1.2 with merge keys, `0777` octal as kubectl reads it, duplicate keys refused, aliases and size bounded.
 * Empty documents are left out.
 * @throws ManifestError with the line, for anything that is not YAML.
 */
export function parseManifest(text: string, source: string): ManifestObject[] {
  if (Buffer.byteLength(text) > MAX_MANIFEST_BYTES) {
    throw new ManifestError(source, `Too large: more than ${MAX_MANIFEST_BYTES} bytes`);
  }
  const lineCounter = new LineCounter();
  const documents = parseDocuments(text, { source, lineCounter });
  if (documents.length > MAX_DOCUMENTS) {
    throw new ManifestError(source, `Too many documents: more than ${MAX_DOCUMENTS}`);
  }
  const objects: ManifestObject[] = [];
  for (const document of documents) {
    const [error] = document.errors;
    if (error !== undefined) {
      const line = error.linePos?.[0].line ?? lineCounter.linePos(error.pos[0]).line;
      throw new ManifestError(`${source}:${line}`, error.message.split('\n')[0] ?? error.message, {
        cause: error,
      });
    }
    const value = toPlain(document, source);
    if (value === null || value === undefined) continue;
    const root = document.contents as Node | null;
    objects.push({
      value,
      source,
      lineOf: (path) => lineCounter.linePos(offsetOf(root, { path, document })).line || 1,
    });
  }
  return objects;
}

function parseDocuments(
  text: string,
  { source, lineCounter }: { source: string; lineCounter: LineCounter },
): Document[] {
  try {
    return [
      ...parseAllDocuments(text, {
        lineCounter,
        version: '1.2',
        schema: 'core',
        merge: true,
        uniqueKeys: true,
        strict: true,
        stringKeys: true,
        prettyErrors: false,
        logLevel: 'silent',
        customTags: (tags) => [OCTAL, ...tags],
      }),
    ];
  } catch (cause) {
    // The parser is recursive; a file of nothing but opening brackets ends its stack.
    throw new ManifestError(source, 'Cannot be parsed: nested too deeply', { cause });
  }
}

/** YAML 1.1 wrote octal numbers with a leading zero, and kubectl still reads them so. */
const OCTAL: ScalarTag = {
  tag: 'tag:yaml.org,2002:int',
  identify: () => false,
  default: true,
  format: 'OCT',
  test: /^[-+]?0[0-7]+$/,
  resolve: (text) => Number.parseInt(text, 8),
};

function toPlain(document: Document, source: string): unknown {
  try {
    return withoutNulls(document.toJS({ maxAliasCount: MAX_ALIASES }));
  } catch (cause) {
    const problem =
      cause instanceof RangeError
        ? 'nested too deeply'
        : cause instanceof Error
          ? cause.message
          : String(cause);
    throw new ManifestError(source, `Cannot be read: ${problem}`, { cause });
  }
}

function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([, member]) => member !== null);
  // Object.fromEntries defines own properties, so a key "__proto__" stays a key and is refused as unknown.
  return Object.fromEntries(entries.map(([key, member]) => [key, withoutNulls(member)]));
}

function offsetOf(
  root: Node | null,
  { path, document }: { path: FieldPath; document: Document },
): number {
  let node: unknown = root;
  let offset = startOf(root);
  for (const step of path) {
    if (isAlias(node)) node = node.resolve(document);
    if (isMap(node)) {
      const pair = node.items.find(
        (item) => isPair(item) && isScalar(item.key) && String(item.key.value) === String(step),
      );
      if (pair === undefined) return offset;
      offset = startOf(pair.key) || offset;
      node = pair.value;
    } else if (isSeq(node) && typeof step === 'number') {
      node = node.items[step];
      if (node === undefined) return offset;
      offset = startOf(node) || offset;
    } else {
      return offset;
    }
  }
  return offset;
}

function startOf(node: unknown): number {
  return isNode(node) ? (node.range?.[0] ?? 0) : 0;
}
