import type {
  Compression,
  LimitSummary,
  QuestionName,
  Results,
  RunSummary,
  WorkloadName,
} from '../../bench/contract.js';

interface RunFacts {
  readonly contestant: string;
  readonly title: string;
  readonly rounds: readonly number[];
  readonly form?: 'image' | 'directory';
  readonly verifies?: boolean;
  readonly error?: string;
}

interface SubjectFacts {
  readonly question: QuestionName;
  readonly workload: WorkloadName;
  readonly compression: Compression;
}

/** A run whose middle round is its median. */
export function makeRun(subject: SubjectFacts, facts: RunFacts): RunSummary {
  const { form = 'directory', verifies = true } = facts;
  const medianSeconds = facts.rounds[facts.rounds.length >> 1] ?? 0;
  const costs = { medianSeconds, cpuSeconds: medianSeconds * 1.5, peakMemoryBytes: 50 * 2 ** 20 };
  return { ...subject, ...costs, ...facts, form, verifies };
}

export function makeLimit(
  subject: SubjectFacts,
  limit: { readonly form: 'image' | 'directory'; readonly seconds: number },
): LimitSummary {
  const last = limit.form === 'image' ? 'write-tar' : 'create-2';
  return {
    ...subject,
    ...limit,
    stages: { decompress: limit.seconds, [last]: 0.3 },
    stageCpuSeconds: { decompress: limit.seconds, [last]: 0.25 },
  };
}

/** Results of pulling app in gzip, in which cais meets its goals in the image form and misses its limit in the directory form. */
export function makePullResults(): Results {
  const subject = { question: 'pull', workload: 'app', compression: 'gzip' } as const;
  return {
    machine: {
      cores: 2,
      processor: 'Example Processor',
      memoryBytes: 24 * 2 ** 30,
      kernel: '6.18.5',
      system: 'Debian GNU/Linux 12 (bookworm)',
      date: '2026-01-02',
      command: 'npm run bench -- pull',
    },
    versions: { node: '20.19.0', 'containerd-2.1-erofs': '2.1.9' },
    workloads: [
      {
        name: 'app',
        entries: 48_610,
        tarBytes: 723e6,
        layers: 1,
        blobBytes: { gzip: 180e6, zstd: 0 },
        manifestDigests: { gzip: `sha256:${'a'.repeat(64)}`, zstd: '' },
      },
    ],
    runs: [
      makeRun(subject, {
        contestant: 'cais-image',
        title: 'cais, image form',
        rounds: [1, 1.1, 1.3],
        form: 'image',
      }),
      makeRun(subject, {
        contestant: 'cais-directory',
        title: 'cais, directory form',
        rounds: [2.8, 3, 3.2],
      }),
      makeRun(subject, {
        contestant: 'containerd-2.1-erofs',
        title: 'containerd 2.1, erofs snapshotter <igzip>',
        rounds: [3.8, 3.9, 4],
        form: 'image',
      }),
      makeRun(subject, {
        contestant: 'containerd-2.1-igzip',
        title: 'containerd 2.1, overlayfs, igzip',
        rounds: [9.7, 9.9, 12],
      }),
      makeRun(subject, {
        contestant: 'podman-5.8',
        title: 'podman 5.8',
        rounds: [],
        error: 'no space left on device\nat line 2',
      }),
    ],
    limits: [
      makeLimit(subject, { form: 'image', seconds: 1 }),
      makeLimit(subject, { form: 'directory', seconds: 2 }),
    ],
    afterwards: [
      {
        workload: 'app',
        compression: 'gzip',
        contestant: 'cais-image',
        diskBytes: 900e6,
        readColdSeconds: 1.5,
        readWarmSeconds: 0.5,
        removeSeconds: 0.01,
      },
    ],
    trees: [
      { workload: 'app', contestant: 'cais-image', differences: [] },
      { workload: 'app', contestant: 'cais-directory', differences: ['usr/bin/env: mode 755'] },
    ],
    concurrent: {
      images: ['app-gzip'],
      seconds: [9],
      medianSeconds: 9,
      sumOfLimitsSeconds: 8,
      eventLoopDelay: { p50Ms: 1, p99Ms: 4, p999Ms: 15, maxMs: 30 },
      eventLoopDelayWithStandstills: { p50Ms: 1, p99Ms: 5, p999Ms: 25, maxMs: 40 },
      standstillSeconds: [0.4],
      peakMemoryBytes: 120 * 2 ** 20,
    },
    missing: [{ product: 'cri-o', reason: 'not packaged' }],
  };
}
