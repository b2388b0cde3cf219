// Makes src/cri/generated/api.ts from proto/cri/v1/api.proto: the codecs of the CRI socket, which are committed.
//   node scripts/generate-cri.mjs [directory]      (default src/cri/generated)
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';

const ROOT = join(import.meta.dirname, '..');
const PROTO = join(ROOT, 'proto/cri/v1');
const bin = (/** @type {string} */ name) => join(ROOT, 'node_modules/.bin', name);

/** What ts-proto makes of it: plain objects with camel case names, 64-bit numbers as bigint (times are nanoseconds), bytes as Buffer. */
const OPTIONS = [
  'env=node',
  'esModuleInterop=true',
  'forceLong=bigint',
  'importSuffix=.js',
  'outputIndex=false',
  'outputJsonMethods=false',
  'outputServices=grpc-js',
  'unrecognizedEnum=false',
  'useExactTypes=false',
];

const output = resolve(process.argv[2] ?? join(ROOT, 'src/cri/generated'));
mkdirSync(output, { recursive: true });
const template = {
  version: 'v2',
  plugins: [{ local: bin('protoc-gen-ts_proto'), out: output, opt: OPTIONS }],
};
const { status } = spawnSync(
  bin('buf'),
  ['generate', PROTO, '--template', JSON.stringify(template)],
  { cwd: PROTO, stdio: ['ignore', 'inherit', 'inherit'] },
);
process.exitCode = status ?? 1;
