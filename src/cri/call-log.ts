/** Where the socket tells what it does; a pino logger is one. */
export interface CriLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** A call that has been answered. */
export interface FinishedCall {
  /** `/runtime.v1.RuntimeService/RunPodSandbox` */
  readonly method: string;
  /** gRPC status; 0: OK. */
  readonly code: number;
  readonly durationMs: number;
}

/** A log that drops everything. */
export const SILENT: CriLog = {
  debug: () => undefined,
  info: () => undefined,
  error: () => undefined,
};
