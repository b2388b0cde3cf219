// Runs a pod from a program: node examples/run-pod.mjs [IMAGE]
// Needs root. CAIS_ROOT and CAIS_RUN name other directories than /var/lib/cais and /run/cais.
import { Engine } from 'cais';

const image = process.argv[2] ?? 'docker.io/library/busybox:latest';
const { CAIS_ROOT: root, CAIS_RUN: run } = process.env;

await using engine = await Engine.open({ ...(root && { root }), ...(run && { run }) });

await engine.images.pull(image, {
  onProgress: ({ digest, phase, bytes, totalBytes }) => {
    if (phase === 'done')
      console.error(`layer ${digest.slice(7, 19)}: ${bytes} of ${totalBytes} bytes`);
  },
  signal: AbortSignal.timeout(60_000),
});

// When the program ends, however it ends, nothing of the pod stays: that is the library's default.
await using pod = await engine.pods.run({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'from-a-program' },
  spec: {
    containers: [
      {
        name: 'app',
        image,
        imagePullPolicy: 'IfNotPresent',
        command: ['sh', '-c', 'echo "hello from $(hostname), address $ADDRESS"'],
        env: [{ name: 'ADDRESS', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } }],
      },
    ],
  },
});

for await (const { container, stream, text } of pod.logs())
  console.log(`${container} ${stream}: ${text}`);

const { exitCode, phase } = await pod.wait();
console.log(`${pod.name}: ${phase}, exit code ${exitCode}`);
