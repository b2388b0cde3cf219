import { status } from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import { STATUS_BY_CODE, toServiceError } from '../../src/cri/status.js';
import {
  AlreadyExistsError,
  FailedPreconditionError,
  InvalidArgumentError,
  NotFoundError,
  RuntimeError,
  StartError,
  TimedOutError,
  UnsupportedError,
} from '../../src/errors.js';
import { InvalidReferenceError } from '../../src/reference.js';
import { Rollback } from '../../src/rollback.js';

describe('toServiceError()', () => {
  test.each([
    ['INVALID_ARGUMENT', status.INVALID_ARGUMENT],
    ['NOT_FOUND', status.NOT_FOUND],
    ['ALREADY_EXISTS', status.ALREADY_EXISTS],
    ['FAILED_PRECONDITION', status.FAILED_PRECONDITION],
    ['TIMED_OUT', status.DEADLINE_EXCEEDED],
    ['UNSUPPORTED', status.UNIMPLEMENTED],
    ['LIMIT_EXCEEDED', status.RESOURCE_EXHAUSTED],
    ['RESOURCE_EXHAUSTED', status.RESOURCE_EXHAUSTED],
    ['TOO_MANY_REQUESTS', status.RESOURCE_EXHAUSTED],
    ['ENOSPC', status.RESOURCE_EXHAUSTED],
    ['UNAUTHORIZED', status.UNAUTHENTICATED],
    ['DENIED', status.PERMISSION_DENIED],
    ['UNAVAILABLE', status.UNAVAILABLE],
    ['SUPERVISOR_GONE', status.UNAVAILABLE],
    ['BAD_MANIFEST', status.DATA_LOSS],
    ['BAD_RESPONSE', status.DATA_LOSS],
    ['BAD_TAR', status.DATA_LOSS],
    ['DIGEST_MISMATCH', status.DATA_LOSS],
    ['SIZE_MISMATCH', status.DATA_LOSS],
    ['EVENTS_LOST', status.DATA_LOSS],
    ['START_FAILED', status.UNKNOWN],
  ])('answers %s by its status', (code, expected) => {
    expect(toServiceError(new RuntimeError(code, 'Cannot'))).toMatchObject({
      code: expected,
      details: 'Cannot',
    });
  });

  test('has a test for every row of the table', () => {
    expect(Object.keys(STATUS_BY_CODE)).toHaveLength(21);
  });

  test.each([
    [new InvalidArgumentError('x'), status.INVALID_ARGUMENT],
    [new InvalidReferenceError(':', 'y'), status.INVALID_ARGUMENT],
    [new NotFoundError('x'), status.NOT_FOUND],
    [new AlreadyExistsError('x'), status.ALREADY_EXISTS],
    [new FailedPreconditionError('x'), status.FAILED_PRECONDITION],
    [new TimedOutError('x'), status.DEADLINE_EXCEEDED],
    [new UnsupportedError('x'), status.UNIMPLEMENTED],
    [new StartError('x', { step: 'exec', errnoCode: 'ENOENT', path: '/x' }), status.UNKNOWN],
    [new RuntimeError('SOMETHING_NEW', 'x'), status.UNKNOWN],
    [new TypeError('x is not a function'), status.INTERNAL],
    ['a text', status.INTERNAL],
    [new DOMException('x', 'AbortError'), status.CANCELLED],
    [new DOMException('x', 'TimeoutError'), status.DEADLINE_EXCEEDED],
  ])('knows %s', (error, expected) => {
    expect(toServiceError(error).code).toBe(expected);
  });

  test('takes the first failure of a create whose undoing failed too', async () => {
    const rollback = new Rollback();
    rollback.add('directory', () => {
      throw new Error('busy');
    });
    const error = await rollback.run(new NotFoundError('No image'));
    expect(toServiceError(error)).toMatchObject({
      code: status.NOT_FOUND,
      details: expect.stringContaining('No image'),
    });
  });

  test('tells the causes and bounds the text', () => {
    const error = new RuntimeError('NOT_FOUND', 'Cannot pull', {
      cause: new Error('a'.repeat(9000)),
    });
    const { details } = toServiceError(error);
    expect(details).toMatch(/^Cannot pull: a+$/);
    expect(details.length).toBe(4096);
  });
});
