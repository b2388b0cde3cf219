import { askQuestion } from './ask.mjs';

/** @import { QuestionOptions } from './ask.mjs' */

/**
 * From the blobs of an image layout on disk to a root file system.
 * @param {QuestionOptions} options
 */
export function askExtract(options) {
  return askQuestion('extract', options);
}
