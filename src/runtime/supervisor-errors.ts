import { RuntimeError } from '../errors.js';
import { errnoName } from './start-failure.js';
import type { Failed } from './supervisor-answers.js';

/** The supervisor's connection ended, or it could not be reached (`SUPERVISOR_GONE`). */
export class SupervisorGoneError extends RuntimeError {
  constructor(message: string, options?: { readonly cause?: unknown }) {
    super('SUPERVISOR_GONE', message, options);
  }
}

/** The supervisor refused a request (`SUPERVISOR_REFUSED`); `errnoCode` says why. */
export class SupervisorRefusedError extends RuntimeError {
  readonly errnoCode: string;

  constructor(request: string, failed: Failed) {
    const errnoCode = errnoName(failed.errno);
    const on = failed.path === '' ? '' : ` on "${failed.path}"`;
    super(
      'SUPERVISOR_REFUSED',
      `The supervisor refused ${request}: ${failed.message || failed.step}${on} (${errnoCode})`,
    );
    this.errnoCode = errnoCode;
  }
}
