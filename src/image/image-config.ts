import { type Digest, isDigest } from '../digest.js';
import { ManifestError, parseJsonObject } from './manifest.js';
import type { Platform } from './platform.js';

/** What an image says about the process to run. Absent in the image: empty here. @see OCI image-spec, config.md */
export interface ImageConfig {
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly workingDirectory: string;
  /** `user`, `uid`, `user:group`, …; empty: root. */
  readonly user: string;
  readonly labels: Readonly<Record<string, string>>;
  /** `8080/tcp` */
  readonly exposedPorts: readonly string[];
  readonly volumes: readonly string[];
  /** Signal name or number; empty: SIGTERM. */
  readonly stopSignal: string;
}

/** A parsed config blob: the process, the platform, and the digests of the uncompressed layers, lowest first. */
export interface ImageConfigDocument {
  readonly config: ImageConfig;
  readonly platform: Platform;
  readonly diffIds: readonly Digest[];
  /** RFC 3339, empty when the image does not say. */
  readonly created: string;
}

/** Largest config blob that is read into memory. */
export const MAX_CONFIG_BYTES = 8 * 2 ** 20;

/**
 * Parses the config blob of an image.
 * @throws ManifestError `BAD_MANIFEST` naming the field.
 */
export function parseImageConfig(bytes: Uint8Array): ImageConfigDocument {
  const document = new Fields(parseJsonObject(bytes), '');
  const process = document.object('config');
  const rootfs = document.object('rootfs');
  const diffIds = rootfs.strings('diff_ids').map((diffId, i) => {
    if (!isDigest(diffId)) throw bad(`rootfs.diff_ids[${i}]`, 'a sha256 digest', diffId);
    return diffId;
  });
  const variant = document.string('variant');
  return {
    config: {
      env: process.strings('Env'),
      entrypoint: process.strings('Entrypoint'),
      cmd: process.strings('Cmd'),
      workingDirectory: process.string('WorkingDir'),
      user: process.string('User'),
      labels: process.labels('Labels'),
      exposedPorts: process.keys('ExposedPorts'),
      volumes: process.keys('Volumes'),
      stopSignal: process.string('StopSignal'),
    },
    platform: {
      os: document.string('os') || 'linux',
      architecture: document.string('architecture'),
      ...(variant === '' ? {} : { variant }),
    },
    diffIds,
    created: document.string('created'),
  };
}

/** Typed access to the fields of one JSON object; null counts as absent, as in Go. */
class Fields {
  readonly #object: Record<string, unknown>;
  readonly #path: string;

  constructor(object: Record<string, unknown>, path: string) {
    this.#object = object;
    this.#path = path;
  }

  string(key: string): string {
    const value = this.#object[key] ?? '';
    if (typeof value !== 'string') throw bad(this.#path + key, 'a string', value);
    return value;
  }

  strings(key: string): string[] {
    const value = this.#object[key] ?? [];
    if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) {
      throw bad(this.#path + key, 'a list of strings', value);
    }
    return value;
  }

  keys(key: string): string[] {
    return Object.keys(this.#map(key));
  }

  labels(key: string): Record<string, string> {
    const map = this.#map(key);
    for (const [name, value] of Object.entries(map)) {
      if (typeof value !== 'string') throw bad(`${this.#path}${key}.${name}`, 'a string', value);
    }
    return map as Record<string, string>;
  }

  object(key: string): Fields {
    return new Fields(this.#map(key), `${this.#path}${key}.`);
  }

  #map(key: string): Record<string, unknown> {
    const value = this.#object[key] ?? {};
    if (typeof value !== 'object' || Array.isArray(value)) {
      throw bad(this.#path + key, 'an object', value);
    }
    return value as Record<string, unknown>;
  }
}

function bad(path: string, expected: string, found: unknown): ManifestError {
  const shown = (JSON.stringify(found) ?? 'nothing').slice(0, 120);
  return new ManifestError(
    'BAD_MANIFEST',
    `Malformed image config: field "${path.slice(0, 200)}": expected ${expected}, found ${shown}`,
  );
}
