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

/** Bytes of a pull in progress, as the image service reports them. */
export interface PodPullProgress {
  readonly image: string;
  readonly progress: unknown;
}
