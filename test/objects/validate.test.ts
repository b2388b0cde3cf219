import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ManifestError, parseManifest } from '../../src/objects/manifest.js';
import { ValidationError, validatePod } from '../../src/objects/validate.js';

const MINIMAL = `apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
  - name: app
    image: busybox
`;

/** Messages of everything wrong with the first object of `text`, each as `LINE PATH: MESSAGE`. */
function problemsOf(text: string): string[] {
  const [object] = parseManifest(text, 'pod.yaml');
  if (object === undefined) throw new Error('no object');
  try {
    validatePod(object);
    return [];
  } catch (error) {
    if (!(error instanceof ValidationError)) throw error;
    return error.issues.map(({ fieldPath, line, message }) => `${line} ${fieldPath}: ${message}`);
  }
}

describe('validatePod()', () => {
  test('accepts a Pod with every field that is supported', () => {
    expect(
      problemsOf(`
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
  labels: {app: web, example.com/tier: front}
  annotations: {note: "any text: goes"}
  creationTimestamp: null
spec:
  restartPolicy: OnFailure
  terminationGracePeriodSeconds: 5
  activeDeadlineSeconds: 60
  hostname: w
  dnsPolicy: None
  dnsConfig: {nameservers: [10.0.0.1], searches: [example.com], options: [{name: ndots, value: "2"}]}
  hostAliases: [{ip: 10.1.1.1, hostnames: [a.example]}]
  shareProcessNamespace: false
  securityContext: {runAsUser: 1000, fsGroup: 2000, sysctls: [{name: net.core.somaxconn, value: "100"}]}
  volumes:
  - {name: data, emptyDir: {}}
  - {name: host, hostPath: {path: /srv, type: Directory}}
  initContainers:
  - {name: setup, image: "busybox:1"}
  containers:
  - name: app
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [sh, -c]
    args: ["true"]
    env:
    - {name: A, value: "1"}
    - {name: B, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
    - {name: C, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    workingDir: /tmp
    resources: {limits: {cpu: 500m, memory: 64Mi}, requests: {cpu: 0.25}}
    ports: [{containerPort: 80, name: http}]
    securityContext: {capabilities: {drop: [ALL]}, allowPrivilegeEscalation: false}
    volumeMounts:
    - {name: data, mountPath: /data}
    - {name: host, mountPath: /host, readOnly: true, recursiveReadOnly: Enabled}
status: {}
`),
    ).toEqual([]);
  });

  test('reports every problem at once, with path and line', () => {
    expect(
      problemsOf(`apiVersion: v1
kind: Pod
metadata:
  name: Web
spec:
  restartPolicy: Sometimes
  hostNetwork: "yes"
  containers:
  - name: app
    immage: busybox
  - name: other
    image: busybox
    env:
    - name: PORT
      value: 8080
`),
    ).toEqual([
      "4 metadata.name: Invalid value: \"Web\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
      '6 spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"',
      '7 spec.hostNetwork: Invalid value: "yes": expected a boolean, received a string (write true or false)',
      '9 spec.containers[0].image: Required value',
      '10 spec.containers[0].immage: Unknown field',
      '15 spec.containers[1].env[0].value: Invalid value: 8080: expected a string, received a number (write it in quotes)',
    ]);
  });

  test('refuses fields of Kubernetes that it does not run, and never ignores them', () => {
    expect(
      problemsOf(
        `${MINIMAL}    livenessProbe: {httpGet: {port: 80}}\n    envFrom: []\n  tolerations: []\n`,
      ),
    ).toEqual([
      '9 spec.containers[0].livenessProbe: Not supported yet',
      '10 spec.containers[0].envFrom: Not supported yet',
      '11 spec.tolerations: Not supported yet',
    ]);
  });

  test.each([
    [
      'kind: Pod',
      'kind: Deployment',
      '2 kind: Unsupported value: "Deployment": supported values: "Pod"',
    ],
    [
      'apiVersion: v1',
      'apiVersion: v2',
      '1 apiVersion: Unsupported value: "v2": supported values: "v1"',
    ],
    [
      'name: web',
      'labels: {}',
      '3 metadata.name: Required value: name or generateName is required',
    ],
    ['  - name: app', '  - name: a_b', /^7 spec\.containers\[0\]\.name: Invalid value: "a_b"/],
    ['image: busybox', 'image: ""', '8 spec.containers[0].image: Required value'],
  ])('says what is wrong with %s as %s', (from, to, expected) => {
    const [problem] = problemsOf(MINIMAL.replace(from, to));
    if (typeof expected === 'string') expect(problem).toBe(expected);
    else expect(problem).toMatch(expected);
  });

  test.each([
    [
      '    volumeMounts: [{name: no, mountPath: /a}]',
      '9 spec.containers[0].volumeMounts[0].name: Not found: "no"',
    ],
    [
      '    resources: {limits: {cpu: x}}',
      /resources\.limits\.cpu: Invalid value: "x": Invalid quantity "x"/,
    ],
    [
      '    resources: {limits: {cpu: 1}, requests: {cpu: 2}}',
      '9 spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
    ],
    [
      '    env: [{name: A, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]',
      '9 spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty',
    ],
    ['  - {name: app, image: b}', '9 spec.containers[1].name: Duplicate value: "app"'],
    [
      '    resources: {limits: {nvidia.com/gpu: 1}}',
      '9 spec.containers[0].resources.limits["nvidia.com/gpu"]: Unknown field',
    ],
    ['    __proto__: {a: 1}', '9 spec.containers[0].__proto__: Unknown field'],
    [
      '  securityContext: {sysctls: [{name: kernel.panic, value: "1"}]}',
      '9 spec.securityContext.sysctls[0].name: Forbidden: "kernel.panic" is not a parameter of a namespace of the pod',
    ],
  ])('refuses %s', (line, expected) => {
    const [problem] = problemsOf(`${MINIMAL}${line}\n`);
    if (typeof expected === 'string') expect(problem).toBe(expected);
    else expect(problem).toMatch(expected);
  });

  test('takes any plain data without another error than its own', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(() => validatePod({ value })).toThrow(ValidationError);
      }),
    );
  });
});

describe('parseManifest()', () => {
  test('reads JSON', () => {
    const [object] = parseManifest('{"kind": "Pod",\n "spec": {"a": [1, 2]}}', 'pod.json');
    expect(object?.value).toEqual({ kind: 'Pod', spec: { a: [1, 2] } });
    expect(object?.lineOf(['spec', 'a', 1])).toBe(2);
  });

  test('reads every document of a file and leaves empty ones out', () => {
    const objects = parseManifest('---\na: 1\n---\n---\nb: 2\n', 'x');
    expect(objects.map(({ value }) => value)).toEqual([{ a: 1 }, { b: 2 }]);
    expect(objects[1]?.lineOf(['b'])).toBe(5);
  });

  test('reads numbers with a leading zero as octal, as kubectl does', () => {
    expect(parseManifest('mode: 0644\nplain: 644\nnine: 09', 'x')[0]?.value).toEqual({
      mode: 0o644,
      plain: 644,
      nine: 9,
    });
  });

  test('resolves anchors and merge keys', () => {
    const text = 'base: &b {x: 1}\nuse: {<<: *b, y: 2}\n';
    expect(parseManifest(text, 'x')[0]?.value).toEqual({ base: { x: 1 }, use: { x: 1, y: 2 } });
  });

  test.each([
    ['a: 1\na: 2\n', /^x:2: Map keys must be unique/],
    ['a: [1\nb: 2\n', /^x:\d: /],
    ['a: *nope\n', /^x.*nope/],
    ['? {a: 1}\n: 2\n', /^x:1: /],
    ['['.repeat(100_000), /^x/],
    [`a: ${'x'.repeat(1024 * 1024)}`, /^x: Too large/],
    ['---\na: 1\n'.repeat(200), /^x: Too many documents/],
  ])('refuses %.20s with the place', (text, message) => {
    expect(() => parseManifest(text, 'x')).toThrow(ManifestError);
    expect(() => parseManifest(text, 'x')).toThrow(message);
  });

  test('bounds what aliases multiply', () => {
    const levels = Array.from({ length: 20 }, (_, i) =>
      i === 0
        ? 'l0: &l0 [x, x]'
        : `l${i}: &l${i} [${Array(9)
            .fill(`*l${i - 1}`)
            .join(', ')}]`,
    );
    expect(() => parseManifest(levels.join('\n'), 'bomb')).toThrow(ManifestError);
  });

  test('takes any text without another error than its own', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...'a: -[]{}&*!|>%@`"\'\n\t#0<~?,') }),
        (text) => {
          try {
            for (const object of parseManifest(text, 'x')) object.lineOf(['a', 0, 'b']);
          } catch (error) {
            expect(error).toBeInstanceOf(ManifestError);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });
});
