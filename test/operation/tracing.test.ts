import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { combineTelemetry } from '../../src/operation/combined-telemetry.js';
import { Tracing, tracesUrl } from '../../src/operation/tracing.js';
import type { Telemetry } from '../../src/telemetry.js';

interface SentSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly attributes: readonly { readonly key: string; readonly value: object }[];
  readonly status: { readonly code?: number; readonly message?: string };
}

let bodies: { resourceSpans: { resource: object; scopeSpans: { spans: SentSpan[] }[] }[] }[];
let paths: (string | undefined)[];
const collector = createServer(async (request, response) => {
  paths.push(request.url);
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  bodies.push(JSON.parse(Buffer.concat(chunks).toString()));
  response.end('{}');
});
let tracing: Tracing;

beforeEach(async () => {
  bodies = [];
  paths = [];
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
  const { port } = collector.address() as AddressInfo;
  const url = tracesUrl(`http://127.0.0.1:${port}/`, {}) ?? '';
  tracing = await Tracing.open({ url, version: '1.2.3' });
});
afterEach(async () => {
  collector.closeAllConnections();
  await new Promise((resolve) => collector.close(resolve));
});

async function sent(): Promise<SentSpan[]> {
  await tracing.close();
  return bodies.flatMap(({ resourceSpans }) =>
    resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans)),
  );
}

it('sends spans that belong together, as part of the caller’s trace', async () => {
  const traceId = '0af7651916cd43dd8448eb211c80319c';
  const method = '/runtime.v1.ImageService/PullImage';
  const traceparent = `00-${traceId}-b7ad6b7169203331-01`;
  await Promise.all([
    tracing.observe('rpc', { method, traceparent }, async () => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      await tracing.observe('image.pull', { attributes: { image: 'x' } }, async () =>
        tracing.pulledBytes(5),
      );
    }),
    tracing.observe('sandbox.start', {}, async () => undefined),
  ]);
  const spans = await sent();
  expect(paths).toEqual(['/v1/traces']);
  const [rpc, pull, other] = [
    'runtime.v1.ImageService/PullImage',
    'image.pull',
    'sandbox.start',
  ].map((wanted) => spans.find(({ name }) => name === wanted));
  expect(rpc).toMatchObject({ traceId, parentSpanId: 'b7ad6b7169203331' });
  expect(pull).toMatchObject({ traceId, parentSpanId: rpc?.spanId });
  expect(pull?.attributes).toEqual([{ key: 'image', value: { stringValue: 'x' } }]);
  expect(other?.traceId).not.toBe(traceId);
  expect(JSON.stringify(bodies[0]?.resourceSpans[0]?.resource)).toContain('"cais"');
});

it('passes errors on, and says what they were', async () => {
  const error = Object.assign(new Error('no such image'), { code: 'NOT_FOUND' });
  await expect(
    tracing.observe('image.pull', { traceparent: 'nonsense' }, async () => Promise.reject(error)),
  ).rejects.toBe(error);
  const [span] = await sent();
  expect(span?.status).toEqual({ code: 2, message: 'no such image' });
  expect(span?.parentSpanId).toBeUndefined();
});

it('does not wait long for a collector that is away', async () => {
  const away = await Tracing.open({ url: 'http://127.0.0.1:1/v1/traces', version: '1' });
  await away.observe('sandbox.start', {}, async () => undefined);
  const start = Date.now();
  await away.close();
  expect(Date.now() - start).toBeLessThan(6_000);
  await tracing.close();
});

describe('tracesUrl()', () => {
  it.each([
    [undefined, {}, undefined],
    ['http://c:4318', {}, 'http://c:4318/v1/traces'],
    [undefined, { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://e/' }, 'http://e/v1/traces'],
    [undefined, { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://t/x' }, 'http://t/x'],
    ['http://c', { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://e' }, 'http://c/v1/traces'],
    ['http://c', { OTEL_SDK_DISABLED: 'true' }, undefined],
  ])('%s and %j: %s', async (endpoint, environment, expected) => {
    expect(tracesUrl(endpoint, environment)).toBe(expected);
    await tracing.close();
  });
});

it('several are told, the first one outermost', async () => {
  const order: string[] = [];
  const named = (name: string): Telemetry => ({
    observe: async (_operation, _options, action) => {
      order.push(`${name} begins`);
      const result = await action();
      order.push(`${name} ends`);
      return result;
    },
    pulledBytes: (bytes) => order.push(`${name} ${bytes}`),
  });
  const both = combineTelemetry([named('a'), named('b')]);
  expect(await both.observe('image.pull', {}, async () => both.pulledBytes(3))).toBeUndefined();
  expect(order).toEqual(['a begins', 'b begins', 'a 3', 'b 3', 'b ends', 'a ends']);
  await tracing.close();
});
