import type {
  CallOptions,
  Client,
  ClientReadableStream,
  ClientUnaryCall,
  Metadata,
  ServiceError,
} from '@grpc/grpc-js';

type Callback<Response> = (error: ServiceError | null, response: Response) => void;

/** A unary call as the generated client declares it, in its shortest form. */
type Unary<Request, Response> = (request: Request, callback: Callback<Response>) => ClientUnaryCall;

type RequestOf<T> = T extends {
  (request: infer Request, callback: Callback<infer _Response>): ClientUnaryCall;
  (request: infer _A, metadata: Metadata, callback: Callback<infer _B>): ClientUnaryCall;
  (
    request: infer _C,
    metadata: Metadata,
    options: Partial<CallOptions>,
    callback: Callback<infer _D>,
  ): ClientUnaryCall;
}
  ? Request
  : never;

type ResponseOf<T> = T extends {
  (request: infer _Request, callback: Callback<infer Response>): ClientUnaryCall;
  (request: infer _A, metadata: Metadata, callback: Callback<infer _B>): ClientUnaryCall;
  (
    request: infer _C,
    metadata: Metadata,
    options: Partial<CallOptions>,
    callback: Callback<infer _D>,
  ): ClientUnaryCall;
}
  ? Response
  : never;

/** A generated client whose calls give promises. */
export class PromiseClient<C extends Client> {
  readonly client: C;

  constructor(client: C) {
    this.client = client;
  }

  /** Calls; when `signal` fires the call is cancelled, as by a client that goes away. */
  call<K extends keyof C>(
    name: K,
    request: RequestOf<C[K]>,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): Promise<ResponseOf<C[K]>> {
    return new Promise((resolve, reject) => {
      const method = this.client[name] as unknown as Unary<RequestOf<C[K]>, ResponseOf<C[K]>>;
      const call = method.call(this.client, request, (error, response) => {
        if (error === null) resolve(response);
        else reject(error);
      });
      signal?.addEventListener('abort', () => call.cancel(), { once: true });
    });
  }
}

/** Everything that a stream of answers brings. */
export async function collected<T>(stream: ClientReadableStream<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const each of stream) all.push(each as T);
  return all;
}
