import { constants } from 'node:os';
import { StartError } from '../errors.js';
import { explainRuntimeFailure } from './oci-failure.js';
import type { Failed } from './supervisor-answers.js';

/** Name of an errno value, `E<number>` for one that this node does not know. */
export function errnoName(errno: number): string {
  const known: Readonly<Record<string, number>> = constants.errno;
  return Object.keys(known).find((name) => known[name] === errno) ?? `E${errno}`;
}

/**
 * The error of a container that could not be started, told to a person: which step failed, on what, and what to do about the usual causes.
 * `what` names the container: `container "web"`.
 */
export function startError(what: string, answer: Failed): StartError {
  const failed = explainRuntimeFailure(answer);
  const errnoCode = failed.errno === 0 ? 'CHECK' : errnoName(failed.errno);
  const detail = explain(failed, errnoCode);
  return new StartError(`Cannot start ${what}: ${detail} (step ${failed.step}, ${errnoCode})`, {
    step: failed.step,
    errnoCode,
    path: failed.path,
  });
}

function explain({ step, path, message }: Failed, errnoCode: string): string {
  const shown = JSON.stringify(path);
  if (step === 'exec') {
    if (errnoCode === 'ENOENT' || errnoCode === 'ENOTDIR') {
      return path.includes('/')
        ? `executable ${shown}, or the interpreter it names, not found in the image`
        : `executable ${shown} not found in the PATH of the image`;
    }
    if (errnoCode === 'EACCES') {
      return `${shown} may not be executed: it has no execute permission for this user, or is no regular file`;
    }
    if (errnoCode === 'ENOEXEC') {
      return `${shown} is no program for this machine: it is built for another architecture, or is a script without "#!"`;
    }
    if (errnoCode === 'E2BIG') return 'arguments and environment are too long for the kernel';
  }
  if (step === 'mount' && errnoCode === 'ENOENT')
    return `mount source or target ${shown} not found`;
  if (step === 'cwd') return `cannot enter the working directory ${shown}`;
  if (step === 'cgroup') return `cannot enter the cgroup ${shown}`;
  if (message !== '') return path === '' ? message : `${message} on ${shown}`;
  return path === '' ? `step "${step}" failed` : `step "${step}" failed on ${shown}`;
}
