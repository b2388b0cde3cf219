// Runs a pod from a program: node examples/run-pod.mjs [IMAGE]
// Needs root. CAIS_ROOT and CAIS_RUN name other directories than /var/lib/cais and /run/cais, CAIS_CGROUP_PARENT another cgroup than cais.
import { Engine } from 'cais';

const image = process.argv[2] ?? 'docker.io/library/busybox:latest';
const { CAIS_ROOT: root, CAIS_RUN: run, CAIS_CGROUP_PARENT: cgroupParent } = process.env;

// In TypeScript, and from Node.js 24 on, `await using engine = …` closes it by itself.
const engine = await Engine.open({
  ...(root && { root }),
  ...(run && { run }),
  ...(cgroupParent && { cgroupParent }),
});
try {
  await engine.images.pull(image, {
    onProgress: ({ digest, phase, totalBytes }) => {
      if (phase === 'done') console.log(`layer ${digest.slice(7, 19)}: ${totalBytes} bytes`);
    },
    signal: AbortSignal.timeout(60_000),
  });

  const pod = await engine.pods.run({
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

  for await (const { container, stream, text } of pod.logs()) {
    console.log(`${container} ${stream}: ${text}`);
  }
  const { exitCode, phase } = await pod.wait();
  console.log(`${pod.name}: ${phase}, exit code ${exitCode}`);
} finally {
  // Also ends and removes the pod: by default nothing of it outlives the program.
  await engine.close();
}
