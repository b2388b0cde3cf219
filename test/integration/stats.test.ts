import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RunningPod } from '../fixtures/running-pod.js';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('skipped: containers need root');

const MEBIBYTE = 2 ** 20;

describe.skipIf(!isRoot)('what a pod uses', () => {
  let pod: RunningPod;

  beforeAll(async () => {
    pod = await RunningPod.open();
  });
  afterAll(() => pod.close());

  it('time, memory, processes, files and network of a container and its pod', async () => {
    const id = await pod.start(
      'sleep 1000 & head -c 3m /dev/zero > /f; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo ready; wait',
      { resources: { memoryLimitBytes: 64 * MEBIBYTE, pidsLimit: 40, cpuQuotaMicros: 50_000 } },
    );
    await expect
      .poll(() => readFileSync(pod.logPath(id), 'utf8'), { timeout: 20_000 })
      .toContain('ready');
    const stats = await pod.containers.stats(id, { processes: true });
    expect(stats).toMatchObject({ containerId: id, sandboxId: pod.sandboxId });
    expect(Math.abs(Number(stats.atNanos / 1_000_000n) - Date.now())).toBeLessThan(10_000);
    const { cgroup } = stats;
    expect(cgroup.cpuUsageNanos).toBeGreaterThan(1_000_000);
    expect(cgroup.cpuUserNanos + cgroup.cpuSystemNanos).toBeGreaterThan(1_000_000);
    expect(cgroup.cpuPeriods).toBeGreaterThan(0);
    expect(stats.cpuUsageNanoCores).toBeGreaterThan(0);
    expect(cgroup).toMatchObject({ memoryLimitBytes: 64 * MEBIBYTE, pids: 2, pidsLimit: 40 });
    expect(cgroup.memoryRssBytes).toBeGreaterThan(0);
    expect(cgroup.memoryCacheBytes).toBeGreaterThan(2 * MEBIBYTE);
    expect(cgroup.memoryMaxUsageBytes).toBeGreaterThanOrEqual(cgroup.memoryUsageBytes);
    expect(cgroup.pageFaults).toBeGreaterThan(0);
    expect(stats.memoryAvailableBytes).toBe(64 * MEBIBYTE - cgroup.memoryWorkingSetBytes);
    expect(cgroup.processes).toMatchObject({ processes: 2, threads: 2, sockets: 0 });
    expect(cgroup.processes?.descriptors).toBeGreaterThanOrEqual(6);
    expect(cgroup.processes?.openFilesSoftLimit).toBeGreaterThan(0);
    expect(stats.writableLayer?.usedBytes).toBeGreaterThanOrEqual(3 * MEBIBYTE);
    expect(stats.writableLayer?.usedInodes).toBeGreaterThan(1);
    expect(stats.writableLayer?.filesystem.sizeBytes).toBeGreaterThan(0);

    const whole = await pod.engine.sandboxes.stats(pod.sandboxId);
    expect(whole.sandboxId).toBe(pod.sandboxId);
    expect(whole.cgroup.processes?.processes).toBe(2);
    expect(whole.cgroup.memoryUsageBytes).toBeGreaterThanOrEqual(cgroup.memoryRssBytes);
    expect(whole.cgroup.cpuUsageNanos).toBeGreaterThanOrEqual(cgroup.cpuUsageNanos);
    // The rig's network has nothing but loopback.
    expect(whole.network).toEqual([]);
  });

  it('pressure, where the kernel has it for cgroups', async ({ skip }) => {
    const id = await pod.start('while :; do :; done');
    const { cgroup } = await pod.containers.stats(id);
    skip(cgroup.cpuPressure === undefined, 'no pressure stall information');
    expect(cgroup.cpuPressure?.some.totalMicros).toBeGreaterThanOrEqual(0);
    expect(cgroup.memoryPressure?.full.avg10).toBeGreaterThanOrEqual(0);
    expect(cgroup.ioPressure?.some.avg300).toBeGreaterThanOrEqual(0);
    await pod.containers.stop(id, { timeoutMs: 0 });
  });

  it('a container that has not started, or has ended, uses nothing', async () => {
    const created = await pod.create('sleep 1000');
    expect((await pod.containers.stats(created)).cgroup.pids).toBe(0);
    const ended = await pod.start('exit 0');
    await pod.containers.wait(ended);
    const stats = await pod.containers.stats(ended, { processes: true });
    expect(stats.cgroup.processes?.processes ?? 0).toBe(0);
    await pod.containers.remove(ended);
    await expect(pod.containers.stats(ended)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('sockets and descriptors are counted', async () => {
    const id = await pod.start('exec 5</dev/null 6</dev/null; exec busybox nc -l -p 4321');
    const sockets = async () =>
      (await pod.containers.stats(id, { processes: true })).cgroup.processes?.sockets;
    await expect.poll(sockets, { timeout: 20_000 }).toBe(1);
    const { cgroup } = await pod.containers.stats(id, { processes: true });
    expect(cgroup.processes?.descriptors).toBeGreaterThanOrEqual(6);
  });

  it('limits of a running container change at once, up and down', async () => {
    const id = await pod.start('sleep 1000', {
      resources: { memoryLimitBytes: 64 * MEBIBYTE, memorySwapLimitBytes: 64 * MEBIBYTE },
    });
    const limits = async () => {
      const { cgroup } = await pod.containers.stats(id);
      return [cgroup.memoryLimitBytes, cgroup.memorySwapLimitBytes, cgroup.pidsLimit];
    };
    for (const mebibytes of [128, 32, 256]) {
      const bytes = mebibytes * MEBIBYTE;
      await pod.containers.updateResources(id, { memoryLimitBytes: bytes });
      expect(await limits()).toEqual([bytes, 0, -1]);
    }
    await pod.containers.updateResources(id, {
      pidsLimit: 7,
      cpuShares: 333,
      cpuQuotaMicros: 20_000,
      cpuPeriodMicros: 100_000,
      cpusetCpus: '0',
      hugepageLimits: [
        { pageSize: '2MB', limitBytes: 0 },
        { pageSize: '1GB', limitBytes: 0 },
        { pageSize: '3MB', limitBytes: 0 },
      ],
    });
    expect(await limits()).toEqual([256 * MEBIBYTE, 0, 7]);
    const record = pod.containers.get(id);
    expect(record?.config.resources).toMatchObject({ pidsLimit: 7, cpusetCpus: '0' });
    await pod.containers.updateResources(id, { memoryLimitBytes: -1 });
    expect(await limits()).toEqual([-1, -1, 7]);
  });

  it('a score rises for every process, and falls as far as the kernel permits', async () => {
    const id = await pod.start('sleep 1000 & exec sleep 1000', { resources: { oomScoreAdj: 100 } });
    await expect.poll(() => pod.processes(id), { timeout: 20_000 }).toBe(2);
    const pid = pod.containers.get(id)?.process?.pid ?? 0;
    const child = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8'));
    const scoreOf = (process: number) =>
      Number(readFileSync(`/proc/${process}/oom_score_adj`, 'utf8'));
    await pod.containers.updateResources(id, { oomScoreAdj: 900 });
    expect([scoreOf(pid), scoreOf(child)]).toEqual([900, 900]);
    await pod.containers.updateResources(id, { oomScoreAdj: -1000 });
    expect([-1000, 900]).toContain(scoreOf(pid));
  });

  it('counters of the pod’s own interfaces, read in its namespace', async ({ skip }) => {
    const pid = pod.engine.sandboxes.get(pod.sandboxId)?.supervisor?.pid;
    const inPod = (...command: string[]) =>
      execFileSync('nsenter', ['-t', String(pid), '-n', ...command], { stdio: 'pipe' });
    try {
      inPod('ip', 'link', 'add', 'net1', 'type', 'veth', 'peer', 'name', 'eth0');
    } catch {
      skip(true, 'no tools to make links with');
    }
    const { network } = await pod.engine.sandboxes.stats(pod.sandboxId);
    expect(network?.map(({ name }) => name)).toEqual(['eth0', 'net1']);
    expect(network?.[1]).toMatchObject({ rxBytes: 0, rxDropped: 0, txPackets: 0, txErrors: 0 });
  });
});
