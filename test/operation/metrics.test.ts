import { expect, it } from 'vitest';
import { InvalidArgumentError } from '../../src/errors.js';
import { Metrics } from '../../src/operation/metrics.js';
import { MetricsServer } from '../../src/operation/metrics-server.js';

it('serves what was observed in the form of Prometheus, and nothing else', async () => {
  const metrics = await Metrics.open();
  await metrics.count({
    containerStates: () => ['running', 'running', 'exited'],
    sandboxStates: () => ['ready'],
  });
  const method = '/runtime.v1.RuntimeService/Version';
  expect(await metrics.observe('rpc', { method }, async () => 5)).toBe(5);
  const failing = metrics.observe('rpc', { method, outcomeOf: () => 'NOT_FOUND' }, async () => {
    throw new Error('gone');
  });
  await expect(failing).rejects.toThrow('gone');
  await metrics.observe('image.pull', { attributes: { image: 'secret-name' } }, async () => {
    metrics.pulledBytes(1000);
    metrics.pulledBytes(24);
  });
  await using server = await MetricsServer.start('127.0.0.1:0', metrics);
  const response = await fetch(server.url);
  const text = await response.text();
  expect(response.headers.get('content-type')).toContain('text/plain; version=0.0.4');
  for (const line of [
    `cais_rpc_duration_seconds_count{method="${method}",code="OK"} 1`,
    `cais_rpc_duration_seconds_count{method="${method}",code="NOT_FOUND"} 1`,
    'cais_image_pull_duration_seconds_count{outcome="ok"} 1',
    'cais_image_pull_bytes_total 1024',
    'cais_containers{state="running"} 2',
    'cais_containers{state="created"} 0',
    'cais_sandboxes{state="ready"} 1',
  ]) {
    expect(text.split('\n')).toContain(line);
  }
  expect(text).toContain('nodejs_eventloop_lag_p99_seconds');
  expect(text).not.toContain('secret-name');
  expect((await fetch(new URL('/', server.url))).status).toBe(404);
  expect((await fetch(server.url, { method: 'POST' })).status).toBe(404);
  await expect(MetricsServer.start(new URL(server.url).host, metrics)).rejects.toMatchObject({
    code: 'LISTEN_FAILED',
  });
});

it('refuses an address that is none', async () => {
  await expect(MetricsServer.start('x', await Metrics.open())).rejects.toThrow(
    InvalidArgumentError,
  );
});
