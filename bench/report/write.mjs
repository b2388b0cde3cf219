import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { renderPage } from './page.mjs';
import { plotHeadline, plotWorkload } from './plots.mjs';
import { selectQuestion, subjectsOf } from './selection.mjs';

/** @import { QuestionName, Results } from '../contract.js' */

/**
 * Writes the page, the numbers and the plots of one question; returns the paths. `QUESTION-notes.md` beside them, where somebody explained
 * these results, becomes a section of the page.
 * @param {string} directory
 * @param {{ readonly question: QuestionName, readonly results: Results }} report
 * @returns {string[]}
 */
export function writeReport(directory, { question, results: all }) {
  const results = selectQuestion(all, question);
  const notesPath = join(directory, `${question}-notes.md`);
  const notes = existsSync(notesPath) ? { notes: readFileSync(notesPath, 'utf8') } : {};
  /** @type {Record<string, string>} */
  const files = {
    [`${question}.json`]: `${JSON.stringify(results, null, 2)}\n`,
    [`${question}.md`]: renderPage(results, { question, ...notes }),
  };
  const workloads = new Set(subjectsOf(results, question).map(({ workload }) => workload));
  for (const workload of workloads) {
    files[`${question}-${workload}.svg`] = plotWorkload(results, { question, workload });
  }
  const headline = question === 'pull' ? plotHeadline(results) : undefined;
  if (headline !== undefined) files['headline.svg'] = headline;

  mkdirSync(directory, { recursive: true });
  return Object.entries(files).map(([name, content]) => {
    const path = join(directory, name);
    writeFileSync(path, content);
    return path;
  });
}
