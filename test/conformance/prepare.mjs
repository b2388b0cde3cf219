// Builds what the conformance tests need ahead of them, so that it is seen what takes so long; what is in the cache already takes no time.
import { MODULE_FILES, prepareGoTools } from './go-tools.mjs';
import { prepareImageStore } from './image-store.mjs';

/** @type {(line: string) => void} */
const say = (line) => console.log(`conformance: ${line}`);

for (const version of Object.keys(MODULE_FILES)) {
  const tools = await prepareGoTools(say, version);
  if ('reason' in tools) say(`tests with cri-tools ${version} are skipped: ${tools.reason}`);
}
await prepareImageStore(say);
