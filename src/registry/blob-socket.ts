import { connect as connectPlain, isIP, type Socket } from 'node:net';
import { connect as connectTls, type SecureContext, type TLSSocket } from 'node:tls';

/** Where TLS differs from what node does by itself. */
export interface BlobTlsOptions {
  readonly secureContext?: SecureContext;
  readonly rejectUnauthorized?: boolean;
}

/** Where the bytes go: `net` and `tls` read into one buffer and call back. */
export interface BlobSocketOptions {
  readonly session: Buffer | undefined;
  readonly tls?: BlobTlsOptions | undefined;
  readonly onread: {
    readonly buffer: Uint8Array;
    readonly callback: (size: number, buffer: Uint8Array) => boolean;
  };
}

/** Begins to connect to an origin, by TLS (certificates verified as node does it everywhere, unless `tls` says otherwise) or without. */
export function connectSocket(
  origin: URL,
  { session, onread, tls: tlsOptions }: BlobSocketOptions,
): Socket | TLSSocket {
  const host = origin.hostname.replace(/^\[|\]$/g, '');
  const isTls = origin.protocol === 'https:';
  const options = {
    host,
    port: Number(origin.port) || (isTls ? 443 : 80),
    // A name may have addresses that lead nowhere from here.
    autoSelectFamily: true,
    noDelay: true,
    onread,
  };
  if (!isTls) return connectPlain(options);
  const tls = {
    ...options,
    ...tlsOptions,
    ALPNProtocols: ['http/1.1'],
    // RFC 6066 section 3: no addresses in SNI.
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(session === undefined ? {} : { session }),
  };
  return connectTls(tls);
}
