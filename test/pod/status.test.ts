import { describe, expect, test } from 'vitest';
import type { RestartPolicy } from '../../src/objects/defaults.js';
import {
  type ContainerState,
  type ContainerStatus,
  type PodPhase,
  podPhase,
} from '../../src/pod/status.js';

const CREATING: ContainerState = { type: 'waiting', reason: 'ContainerCreating' };
const BACKING_OFF: ContainerState = { type: 'waiting', reason: 'CrashLoopBackOff' };
const RUNNING: ContainerState = { type: 'running', startedAtMs: 1 };

function ended(exitCode: number): ContainerState {
  const reason = exitCode === 0 ? 'Completed' : 'Error';
  return { type: 'terminated', exitCode, reason, startedAtMs: 1, finishedAtMs: 2 };
}

function status(state: ContainerState, isInit: boolean): ContainerStatus {
  return { name: 'c', isInit, image: 'i', restartCount: 0, state };
}

interface Example {
  readonly says: string;
  readonly init?: readonly ContainerState[];
  readonly main: readonly ContainerState[];
  readonly restartPolicy?: RestartPolicy;
  readonly isStopping?: boolean;
  readonly phase: PodPhase;
}

function phaseOf({ init = [], main, restartPolicy = 'Always', isStopping = false }: Example) {
  const statuses = [
    ...init.map((state) => status(state, true)),
    ...main.map((state) => status(state, false)),
  ];
  return podPhase(statuses, { restartPolicy, isStopping });
}

// The rules' numbers are those of contracts/kubernetes-semantics.md.
describe('phase of a pod', () => {
  test.each<Example>([
    { says: 'I1: nothing has started', main: [CREATING, CREATING], phase: 'Pending' },
    { says: 'I1: one of two has not started', main: [RUNNING, CREATING], phase: 'Pending' },
    {
      says: 'I1: one ended before the other started',
      main: [ended(0), CREATING],
      restartPolicy: 'Never',
      phase: 'Pending',
    },
    {
      says: 'I1: one waits for its restart before the other started',
      main: [BACKING_OFF, CREATING],
      phase: 'Pending',
    },
    { says: 'I1: an init container runs', init: [RUNNING], main: [CREATING], phase: 'Pending' },
    {
      says: 'I1: an init container is to be restarted',
      init: [ended(1)],
      main: [CREATING],
      restartPolicy: 'OnFailure',
      phase: 'Pending',
    },
    { says: 'I2: all run', main: [RUNNING, RUNNING], phase: 'Running' },
    {
      says: 'I2: one runs, one has ended for good',
      main: [RUNNING, ended(1)],
      restartPolicy: 'Never',
      phase: 'Running',
    },
    { says: 'I2: all wait for their restart', main: [BACKING_OFF], phase: 'Running' },
    {
      says: 'I2: one runs, one waits for its restart',
      main: [RUNNING, BACKING_OFF],
      phase: 'Running',
    },
    { says: 'I2: all ended, all will be restarted', main: [ended(0)], phase: 'Running' },
    {
      says: 'I2: all ended, one will be restarted',
      main: [ended(0), ended(1)],
      restartPolicy: 'OnFailure',
      phase: 'Running',
    },
    {
      says: 'I3: all ended well',
      main: [ended(0), ended(0)],
      restartPolicy: 'OnFailure',
      phase: 'Succeeded',
    },
    { says: 'I3: one failed', main: [ended(0), ended(1)], restartPolicy: 'Never', phase: 'Failed' },
    {
      says: 'I5: an init container failed for good',
      init: [ended(1)],
      main: [CREATING],
      restartPolicy: 'Never',
      phase: 'Failed',
    },
    { says: 'stopped before it started', main: [CREATING], isStopping: true, phase: 'Failed' },
    {
      says: 'stopped while one had not started, and the other still runs',
      main: [RUNNING, CREATING],
      isStopping: true,
      phase: 'Pending',
    },
    { says: 'stopped in a back-off', main: [BACKING_OFF], isStopping: true, phase: 'Failed' },
    { says: 'stopped and still running', main: [RUNNING], isStopping: true, phase: 'Running' },
    { says: 'stopped, and all ended well', main: [ended(0)], isStopping: true, phase: 'Succeeded' },
    {
      says: 'stopped in an init container that still runs',
      init: [RUNNING],
      main: [CREATING],
      isStopping: true,
      phase: 'Pending',
    },
    {
      says: 'stopped before an init container started',
      init: [CREATING],
      main: [CREATING],
      isStopping: true,
      phase: 'Failed',
    },
  ])('$says: $phase', (example) => {
    expect(phaseOf(example)).toBe(example.phase);
  });
});
