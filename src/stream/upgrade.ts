import type { IncomingMessage } from 'node:http';
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { closeGently } from './gentle-close.js';
import type { StreamRequest } from './stream-request.js';

/** Versions of the process protocol by name; the number decides about resizing and about the form of the status. */
const SPDY_PROCESS_PROTOCOLS: ReadonlyMap<string, number> = new Map([
  ['v4.channel.k8s.io', 4],
  ['v3.channel.k8s.io', 3],
  ['v2.channel.k8s.io', 2],
  ['channel.k8s.io', 1],
]);
const SPDY_FORWARD_PROTOCOL = 'portforward.k8s.io';
const TUNNEL_PROTOCOL = 'SPDY/3.1+portforward.k8s.io';

/** Version, and whether messages are text in base64. The empty name stands for a client that names none. */
interface ChannelProtocol {
  readonly version: number;
  readonly isBase64: boolean;
}
const WEB_SOCKET_FORWARD_PROTOCOLS: ReadonlyMap<string, ChannelProtocol> = new Map([
  ['', { version: 4, isBase64: false }],
  ['v4.channel.k8s.io', { version: 4, isBase64: false }],
  ['v4.base64.channel.k8s.io', { version: 4, isBase64: true }],
]);
const WEB_SOCKET_PROCESS_PROTOCOLS: ReadonlyMap<string, ChannelProtocol> = new Map([
  ['', { version: 1, isBase64: false }],
  ['channel.k8s.io', { version: 1, isBase64: false }],
  ['base64.channel.k8s.io', { version: 1, isBase64: true }],
  ['v4.channel.k8s.io', { version: 4, isBase64: false }],
  ['v4.base64.channel.k8s.io', { version: 4, isBase64: true }],
  ['v5.channel.k8s.io', { version: 5, isBase64: false }],
]);

/** How client and server will speak. */
export type Upgrade =
  | { readonly kind: 'spdy'; readonly protocol: string; readonly version: number }
  | { readonly kind: 'tunnel'; readonly protocol: string }
  | ({ readonly kind: 'webSocket'; readonly protocol: string } & ChannelProtocol);

/** An answer instead of an upgrade. */
export interface Refusal {
  readonly status: number;
  readonly text: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** For a request that wants no upgrade, or one to something else. */
export const UPGRADE_REQUIRED: Refusal = {
  status: 400,
  text: 'Upgrade request required: the server speaks SPDY/3.1 and WebSocket',
  headers: { Upgrade: 'SPDY/3.1, websocket' },
};

/**
 * Chooses the protocol: of those that the client names, in its order, the first that the server knows.
 * @see contracts/streaming.md sections 1 and 5
 */
export function chooseUpgrade(
  message: IncomingMessage,
  kind: StreamRequest['kind'],
): Upgrade | Refusal {
  const wanted = listHeader(message, 'upgrade').map((name) => name.toLowerCase());
  const isUpgrade = listHeader(message, 'connection').some(
    (name) => name.toLowerCase() === 'upgrade',
  );
  if (isUpgrade && wanted.includes('websocket')) return chooseWebSocket(message, kind);
  if (isUpgrade && wanted.includes('spdy/3.1')) return chooseSpdy(message, kind);
  return UPGRADE_REQUIRED;
}

function chooseSpdy(message: IncomingMessage, kind: StreamRequest['kind']): Upgrade | Refusal {
  const offered = listHeader(message, 'x-stream-protocol-version');
  if (offered.length === 0) {
    return { status: 400, text: 'The header X-Stream-Protocol-Version is required' };
  }
  const known =
    kind === 'portforward' ? [SPDY_FORWARD_PROTOCOL] : [...SPDY_PROCESS_PROTOCOLS.keys()];
  const protocol = offered.find((name) => known.includes(name));
  if (protocol === undefined) return noCommonProtocol(offered, known);
  return { kind: 'spdy', protocol, version: SPDY_PROCESS_PROTOCOLS.get(protocol) ?? 0 };
}

function chooseWebSocket(message: IncomingMessage, kind: StreamRequest['kind']): Upgrade | Refusal {
  const offered = listHeader(message, 'sec-websocket-protocol');
  const isForward = kind === 'portforward';
  const channels = isForward ? WEB_SOCKET_FORWARD_PROTOCOLS : WEB_SOCKET_PROCESS_PROTOCOLS;
  for (const protocol of offered.length === 0 ? [''] : offered) {
    if (isForward && protocol === TUNNEL_PROTOCOL) return { kind: 'tunnel', protocol };
    const channel = channels.get(protocol);
    if (channel !== undefined) return { kind: 'webSocket', protocol, ...channel };
  }
  const known = [...(isForward ? [TUNNEL_PROTOCOL] : []), ...channels.keys()];
  return noCommonProtocol(
    offered,
    known.filter((name) => name !== ''),
  );
}

function noCommonProtocol(offered: readonly string[], known: readonly string[]): Refusal {
  return {
    status: 403,
    text: `The server speaks none of the protocols ${offered.map((name) => JSON.stringify(name)).join(', ')}`,
    headers: { 'X-Accepted-Stream-Protocol-Versions': known.join(', ') },
  };
}

/** All values of a header that may be repeated or hold a comma list, in order; node joins repeats only for some names. */
function listHeader(message: IncomingMessage, name: string): string[] {
  const values: string[] = [];
  for (let index = 0; index + 1 < message.rawHeaders.length; index += 2) {
    if (message.rawHeaders[index]?.toLowerCase() !== name) continue;
    values.push(...(message.rawHeaders[index + 1] ?? '').split(','));
  }
  return values.map((value) => value.trim()).filter((value) => value !== '');
}

/** Answers 101; what is written next is SPDY. */
export function acceptSpdy(socket: Duplex, protocol: string): void {
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${protocol}\r\n\r\n`,
  );
}

/** Answers with an error and closes the connection. */
export async function refuseUpgrade(
  socket: Duplex,
  { status, text, headers = {} }: Refusal,
  lingerMs: number,
): Promise<void> {
  const body = `${text}\n`;
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    'Connection: close',
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ];
  if (socket.writable) socket.write(`${lines.join('\r\n')}\r\n\r\n${body}`);
  await closeGently(socket, lingerMs);
}
