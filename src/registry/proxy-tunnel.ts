import {
  Agent,
  type AgentOptions,
  type ClientRequest,
  type ClientRequestArgs,
  request as requestPlain,
} from 'node:http';
import {
  request as requestTls,
  Agent as TlsAgent,
  type AgentOptions as TlsAgentOptions,
} from 'node:https';
import { isIPv6, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { ConnectionFault } from './connection-fault.js';

export interface TunnelOptions {
  /** Longest wait for the proxy to have connected. */
  readonly connectTimeoutMs: number;
}

/** Of an HTTP client, for both kinds of connections; `destroy` closes what is idle and cuts what is in use. */
export interface HttpAgents {
  readonly plain: Agent;
  readonly tls: TlsAgent;
}

/** Of a connection, as node's agents call it: with an error there is no stream. */
type Created = (error: Error | null, stream: Duplex) => void;

/**
 * Agents whose connections lead through an HTTP proxy, by CONNECT for plain HTTP as well: so the proxy sees no path and no header of a request.
 * @param options for the connections to the servers behind the proxy
 */
export function tunnelAgents(
  proxy: URL,
  { connectTimeoutMs, ...options }: TunnelOptions & AgentOptions & TlsAgentOptions,
): HttpAgents {
  const tunnels = new Tunnels(proxy, { connectTimeoutMs });
  return { plain: new TunnelAgent(tunnels, options), tls: new TlsTunnelAgent(tunnels, options) };
}

class TunnelAgent extends Agent {
  readonly #tunnels: Tunnels;

  constructor(tunnels: Tunnels, options: AgentOptions) {
    super(options);
    this.#tunnels = tunnels;
  }

  override createConnection(target: ClientRequestArgs, created?: Created): undefined {
    hand(this.#tunnels.open(target), created);
  }

  override destroy(): void {
    this.#tunnels.destroy();
    super.destroy();
  }
}

class TlsTunnelAgent extends TlsAgent {
  readonly #tunnels: Tunnels;

  constructor(tunnels: Tunnels, options: TlsAgentOptions) {
    super(options);
    this.#tunnels = tunnels;
  }

  override createConnection(target: ClientRequestArgs, created?: Created): undefined {
    const encrypt = (socket: Socket) =>
      super.createConnection({ ...target, socket } as ClientRequestArgs);
    hand(this.#tunnels.open(target).then(encrypt), created);
  }

  override destroy(): void {
    this.#tunnels.destroy();
    super.destroy();
  }
}

function hand(connection: Promise<Duplex | null | undefined>, created: Created | undefined): void {
  connection.then(
    (stream) => created?.(null, stream as Duplex),
    (error) => created?.(error as Error, undefined as unknown as Duplex),
  );
}

/** Opens tunnels through one proxy. @see RFC 9110 section 9.3.6 */
class Tunnels {
  readonly #proxy: URL;
  readonly #options: TunnelOptions;
  readonly #opening = new Set<ClientRequest>();

  constructor(proxy: URL, options: TunnelOptions) {
    this.#proxy = proxy;
    this.#options = options;
  }

  /** @throws ConnectionFault when the proxy refuses or takes too long; what the connection to it says. */
  open({ host, port }: ClientRequestArgs): Promise<Socket> {
    const name = host ?? 'localhost';
    const request = this.#ask(`${isIPv6(name) ? `[${name}]` : name}:${port}`);
    this.#opening.add(request);
    const { connectTimeoutMs } = this.#options;
    let timer: NodeJS.Timeout;
    const opened = new Promise<Socket>((resolve, reject) => {
      const fail = (code: ConnectionFault['code'], problem: string) => {
        reject(new ConnectionFault(code, `the proxy ${this.#proxy.host} ${problem}`));
        request.destroy();
      };
      const refuse = (status = 0) =>
        fail('ECONNABORTED', `opens no way to ${name}: it answers ${status}`);
      timer = setTimeout(() => {
        fail('ETIMEDOUT', `opened no way to ${name} for ${connectTimeoutMs / 1000} s`);
      }, connectTimeoutMs);
      request
        .once('connect', ({ statusCode }, socket, early) => {
          if (statusCode === 200 && early.byteLength === 0) {
            resolve(socket);
            return;
          }
          socket.destroy();
          // Nobody has asked the server anything yet.
          if (statusCode === 200) fail('ECONNABORTED', 'speaks for the server');
          else refuse(statusCode);
        })
        // As to any other request, by a proxy that does not know CONNECT.
        .once('response', ({ statusCode }) => refuse(statusCode))
        .on('error', reject)
        .once('close', () => fail('ECONNRESET', 'closed the connection'))
        .end();
    });
    return opened.finally(() => {
      clearTimeout(timer);
      this.#opening.delete(request);
    });
  }

  /** Ends what has not led to a tunnel yet. */
  destroy(): void {
    for (const request of this.#opening) request.destroy();
  }

  #ask(authority: string): ClientRequest {
    const { protocol, hostname, port, username, password } = this.#proxy;
    const credential = [username, password].map(decoded).join(':');
    const authorization = `Basic ${Buffer.from(credential).toString('base64')}`;
    const isTls = protocol === 'https:';
    const send = isTls ? requestTls : requestPlain;
    return send({
      method: 'CONNECT',
      host: hostname.replace(/^\[|\]$/g, ''),
      port: Number(port) || (isTls ? 443 : 80),
      path: authority,
      headers: {
        host: authority,
        ...(credential === ':' ? {} : { 'proxy-authorization': authorization }),
      },
      agent: false,
    });
  }
}

/** Of a part of a URL; one with a lone "%" is taken as it is. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
