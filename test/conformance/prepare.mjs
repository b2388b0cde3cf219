// Builds what the conformance tests need ahead of them, so that it is seen what takes so long; what is in the cache already takes no time.
import { prepareGoTools } from './go-tools.mjs';
import { prepareImageStore } from './image-store.mjs';

/** @type {(line: string) => void} */
const say = (line) => console.log(`conformance: ${line}`);

const tools = await prepareGoTools(say);
if ('reason' in tools) say(`its tests are skipped: ${tools.reason}`);
else await prepareImageStore(say);
