// Makes the pages and plots again from a file of results.
//   node bench/report/main.mjs FILE.json [DIRECTORY]     DIRECTORY is where the file lies unless it is named
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { questionsOf } from './selection.mjs';
import { writeReport } from './write.mjs';

const [path, directory, ...rest] = process.argv.slice(2);
if (path === undefined || rest.length > 0) {
  process.stderr.write('Usage: node bench/report/main.mjs FILE.json [DIRECTORY]\n');
  process.exit(2);
}
/** @type {import('../contract.js').Results} */
const results = JSON.parse(readFileSync(path, 'utf8'));
for (const question of questionsOf(results)) {
  for (const written of writeReport(directory ?? dirname(path), { question, results })) {
    console.log(written);
  }
}
