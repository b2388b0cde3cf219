import type { PullProgress } from '../image/pull-progress.js';

/** Something that happened to a pod, in the words of the kubelet where it has some. */
export interface PodEvent {
  readonly type: 'Normal' | 'Warning';
  readonly reason:
    | 'Pulling'
    | 'Pulled'
    | 'SandboxReady'
    | 'Created'
    | 'Started'
    | 'Exited'
    | 'BackOff'
    | 'Killing'
    | 'Failed'
    | 'DeadlineExceeded';
  readonly message: string;
  /** The container it is about; absent: the pod. */
  readonly container?: string;
}

/** Progress of one layer of one image of a pod. */
export interface PodPullProgress {
  readonly image: string;
  readonly progress: PullProgress;
}
