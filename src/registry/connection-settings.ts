import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { createSecureContext, rootCertificates, type SecureContext } from 'node:tls';
import { type HostEntry, HostsFileError } from './hosts-file.js';
import { readHostsFile } from './hosts-file-text.js';

/** How to connect to a host that is not reached like all others. */
export interface ConnectionSettings {
  /** Authorities and client certificates; undefined: those of the machine, and none. */
  readonly secureContext: SecureContext | undefined;
  /** False: anybody may answer. */
  readonly verifiesCertificates: boolean;
  readonly connectTimeoutMs: number | undefined;
  /** Undefined: what the environment says. */
  readonly proxy: URL | undefined;
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/**
 * Reads what the entry of a host names. Undefined when it asks for nothing of its own.
 * @throws HostsFileError naming the file that is missing or holds no certificate.
 */
export async function connectionSettings(
  entry: Pick<HostEntry, 'caPaths' | 'clientPairs' | 'skipVerify' | 'dialTimeoutMs' | 'proxy'>,
  directory: string,
): Promise<ConnectionSettings | undefined> {
  const { caPaths, clientPairs, skipVerify, dialTimeoutMs, proxy } = entry;
  const hasTls = caPaths.length > 0 || clientPairs.length > 0;
  if (!hasTls && !skipVerify && dialTimeoutMs === undefined && proxy === undefined)
    return undefined;
  return {
    secureContext: hasTls ? await secureContextOf({ caPaths, clientPairs }, directory) : undefined,
    verifiesCertificates: !skipVerify,
    connectTimeoutMs: dialTimeoutMs,
    proxy,
  };
}

async function secureContextOf(
  { caPaths, clientPairs }: Pick<HostEntry, 'caPaths' | 'clientPairs'>,
  directory: string,
): Promise<SecureContext> {
  const authorities: string[] = [];
  for (const path of caPaths) authorities.push(...certificatesIn(path, await readPem(path, 'ca')));
  const cert: string[] = [];
  const key: string[] = [];
  for (const { certificatePath, keyPath } of clientPairs) {
    const certificate = await readPem(certificatePath, 'client');
    certificatesIn(certificatePath, certificate);
    cert.push(certificate);
    key.push(keyPath === certificatePath ? certificate : await readPem(keyPath, 'client'));
  }
  // Node takes `ca` in place of its own authorities; these files add to them.
  const ca = authorities.length === 0 ? undefined : [...rootCertificates, ...authorities];
  try {
    return createSecureContext({
      ...(ca === undefined ? {} : { ca }),
      ...(cert.length === 0 ? {} : { cert, key }),
    });
  } catch (error) {
    const where = clientPairs.map(({ keyPath }) => JSON.stringify(keyPath)).join(', ');
    throw new HostsFileError(
      join(directory, 'hosts.toml'),
      `key "client": certificate and private key do not fit, or the key is none (${where}): ${opensslReason(error)}`,
    );
  }
}

async function readPem(path: string, key: string): Promise<string> {
  const text = await readHostsFile(path);
  if (text === undefined) throw new HostsFileError(path, `the file named by "${key}" is missing`);
  return text;
}

function certificatesIn(path: string, text: string): string[] {
  const certificates = text.match(PEM_CERTIFICATE) ?? [];
  const isGood = (pem: string) => {
    try {
      return new X509Certificate(pem) !== undefined;
    } catch {
      return false;
    }
  };
  if (certificates.length === 0 || !certificates.every(isGood)) {
    throw new HostsFileError(path, 'it holds no certificate in PEM form, or one that is damaged');
  }
  return certificates;
}

/** OpenSSL's words without anything of the key. */
function opensslReason(error: unknown): string {
  const { reason, code } = error as { reason?: unknown; code?: unknown };
  return String(reason ?? code ?? 'unknown reason').slice(0, 100);
}
