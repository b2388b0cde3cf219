export { Credential } from './auth/credential.js';
export type {
  Config,
  ConfigOptions,
  HandlerConfig,
  NetworkConfig,
  OciHandlerConfig,
} from './config.js';
export { type ContainerEvent, EventsLostError } from './container/events.js';
export type { LogEntry } from './container/log-entry.js';
export { Engine, type EngineFacts, type EngineOptions } from './engine.js';
export {
  AlreadyExistsError,
  FailedPreconditionError,
  InvalidArgumentError,
  NativeError,
  NotFoundError,
  RuntimeError,
  StartError,
  TimedOutError,
  UnsupportedError,
} from './errors.js';
export type { ImageRecord } from './image/image-store.js';
export type { PullOptions } from './image/images.js';
export type { PullProgress } from './image/pull-progress.js';
export { ManifestError, type ManifestObject, parseManifest } from './objects/manifest.js';
export type { PodManifest } from './objects/pod-schema.js';
export { type FieldIssue, ValidationError, validatePod } from './objects/validate.js';
export type { PodEvent } from './pod/events.js';
export type { PodHandle, StopPodOptions } from './pod/pod-handle.js';
export type { PodLogEntry, PodLogsOptions } from './pod/pod-logs.js';
export type { PodSummary, RunPodOptions } from './pod/pod-service.js';
export { ImageUnavailableError } from './pod/pull-policy.js';
export type { ContainerState, ContainerStatus, PodPhase } from './pod/status.js';
export type { PodResult } from './pod/worker.js';
export type { RuntimeHandler } from './runtime/handlers.js';
export type { RuntimeFeatures } from './runtime/oci-features.js';
