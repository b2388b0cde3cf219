// A process with an open engine, as a daemon or an embedding program would be: reads commands as lines of JSON, answers with lines of JSON.
//   node cais-worker.mjs ROOT RUN FORM CGROUP
import { close, rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { Engine } from '../../dist/engine.js';
import { loadNative, SUPERVISOR_PATH } from '../../dist/native.js';
import { writeOciLayout } from '../../scripts/oci-layout.mjs';
import { watchEventLoop } from '../event-loop-delays.mjs';

const [root = '', run = '', form = '', cgroupParent = ''] = process.argv.slice(2);
const IMAGE_NAME = 'bench.localhost/image:bench';
const WARM_UP_ROUNDS = 3;
const WARM_UP_NAME = 'bench.localhost/warm-up:bench';

const engine = await Engine.open({
  root,
  run,
  layerForm: /** @type {'image' | 'directory'} */ (form),
  cgroupParent,
});

/**
 * A root file system that a container could start on: the layers opened, mended where that is needed, and an overlay over them.
 * @param {string} image
 */
async function mountRoot(image) {
  const { layers } = engine.images.inspect(image);
  const lower = await engine.layers.lowerOf(layers.map(({ diffId }) => diffId));
  return loadNative().mountOverlay({
    lower,
    volatile: false,
    linkDirectory: `${root}/l`,
    supervisorPath: SUPERVISOR_PATH,
  });
}

// As the engine does: the last descriptor of a detached mount takes it down, and the kernel takes its time for that.
const unmountRoot = promisify(close);

/** @param {() => Promise<unknown>} action */
async function timed(action) {
  const started = performance.now();
  await action();
  return { seconds: (performance.now() - started) / 1000 };
}

/** @type {number | undefined} */
let treeFd;

/** @type {Readonly<Record<string, (argument: string) => Promise<object>>>} */
const commands = {
  // What a process that has been at work for a while has behind it: its code is loaded and has run. A tiny image, made or pulled, and removed again;
  // nothing of the image in question is there.
  warmUp: async (reference) => {
    const directory = `${root}-warm-up`;
    for (let round = 0; round < WARM_UP_ROUNDS; round++) {
      writeOciLayout(directory, { layers: [{ tar: Buffer.alloc(1024), compression: 'gzip' }] });
      const image =
        reference === ''
          ? (await engine.images.load(directory, { name: WARM_UP_NAME }))[0]
          : await engine.images.pull(reference);
      await unmountRoot(await mountRoot(image?.id ?? ''));
      await engine.images.remove(image?.id ?? '');
      rmSync(directory, { recursive: true });
    }
    await engine.layers.settled();
    return {};
  },
  pull: (reference) =>
    timed(async () => {
      await engine.images.pull(reference);
      await unmountRoot(await mountRoot(reference));
    }),
  load: (directory) =>
    timed(async () => {
      await engine.images.load(directory, { name: IMAGE_NAME });
      await unmountRoot(await mountRoot(IMAGE_NAME));
    }),
  tree: async () => {
    const [image] = engine.images.list();
    treeFd = await mountRoot(image?.id ?? '');
    // Behind the link of procfs.
    return { path: `/proc/${process.pid}/fd/${treeFd}/.` };
  },
  untree: async () => {
    if (treeFd !== undefined) await unmountRoot(treeFd);
    treeFd = undefined;
    return {};
  },
  // Ends when the trees are deleted, too: `close` waits for what goes on in the background.
  remove: () =>
    timed(async () => {
      const [image] = engine.images.list();
      await engine.images.remove(image?.id ?? '');
      await engine.close();
    }),
  firstStart: () =>
    timed(async () => {
      const [image] = engine.images.list();
      const pod = await engine.pods.run({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'first' },
        spec: {
          hostNetwork: true,
          restartPolicy: 'Never',
          containers: [
            {
              name: 'true',
              image: image?.names[0] ?? '',
              imagePullPolicy: 'Never',
              command: ['/bin/true'],
            },
          ],
        },
      });
      const { exitCode } = await pod.wait();
      if (exitCode !== 0) throw new Error(`/bin/true ended with ${exitCode}`);
      await pod[Symbol.asyncDispose]();
    }),
  // Several images at once; how long the main thread kept others waiting meanwhile.
  concurrent: async (argument) => {
    const eventLoop = watchEventLoop();
    /** @type {string[]} */
    const references = JSON.parse(argument);
    const result = await timed(() =>
      Promise.all(
        references.map(async (reference) => {
          await engine.images.pull(reference);
          await unmountRoot(await mountRoot(reference));
        }),
      ),
    );
    return { ...result, delays: eventLoop.stop() };
  },
};

process.stdout.write('{"ready":true}\n');
for await (const line of createInterface({ input: process.stdin })) {
  const { command, argument = '' } = JSON.parse(line);
  try {
    const answer = await commands[command]?.(argument);
    process.stdout.write(`${JSON.stringify({ done: command, ...answer })}\n`);
  } catch (error) {
    process.stdout.write(`${JSON.stringify({ done: command, error: String(error) })}\n`);
  }
}
await engine.close();
