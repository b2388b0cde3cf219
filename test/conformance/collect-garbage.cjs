// Loaded into the runtime by NODE_OPTIONS for the soak test: at SIGUSR2 it collects what is garbage and writes what is left to the
// file memory.json in DIRECTORY, so that a leak is told from memory that is only not collected yet.
const { writeFileSync, renameSync } = require('node:fs');
const { setFlagsFromString } = require('node:v8');
const { runInNewContext } = require('node:vm');

const directory = process.env.DIRECTORY;
if (directory) {
  const path = `${directory}/memory.json`;
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc');
  process.on('SIGUSR2', () => {
    // Finalizers that a first collection runs make more garbage.
    for (let round = 0; round < 3; round += 1) collect();
    writeFileSync(`${path}.new`, JSON.stringify(process.memoryUsage()));
    renameSync(`${path}.new`, path);
  });
}
