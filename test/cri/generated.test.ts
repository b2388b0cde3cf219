import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');

/** What the compiler makes of the file: the parts of a descriptor set that are compared. */
interface Descriptor {
  readonly package: string;
  readonly syntax: string;
  readonly enumType: readonly EnumDescriptor[];
  readonly messageType: readonly MessageDescriptor[];
  readonly service: readonly {
    readonly name: string;
    readonly method: readonly {
      readonly name: string;
      readonly inputType: string;
      readonly outputType: string;
      readonly serverStreaming?: boolean;
    }[];
  }[];
}
interface EnumDescriptor {
  readonly name: string;
  readonly value: readonly { readonly name: string; readonly number?: number }[];
}
interface MessageDescriptor {
  readonly name: string;
  readonly field?: readonly FieldDescriptor[];
  readonly enumType?: readonly EnumDescriptor[];
  readonly nestedType?: readonly (MessageDescriptor & {
    readonly options?: { readonly mapEntry?: boolean };
  })[];
}
interface FieldDescriptor {
  readonly name: string;
  readonly number: number;
  readonly label: string;
  readonly type: string;
  readonly typeName?: string;
  readonly options?: Readonly<Record<string, unknown>>;
}

/** The rows of the table that the compiled file stands for. */
function rowsOf(file: Descriptor): string[] {
  const bare = (name: string) => name.replace('.runtime.v1.', '');
  const rows: string[] = [];
  const enumRows = (prefix: string, { name, value }: EnumDescriptor) => {
    rows.push(['enum', prefix + name].join('\t'));
    for (const one of value)
      rows.push(['value', prefix + name, one.name, one.number ?? 0].join('\t'));
  };
  const typeOf = (message: MessageDescriptor, field: FieldDescriptor): string => {
    const scalar = (one: FieldDescriptor) =>
      one.typeName === undefined
        ? one.type.replace('TYPE_', '').toLowerCase()
        : bare(one.typeName).replace(`${message.name}.`, '');
    const entry = message.nestedType?.find(
      ({ name, options }) => options?.mapEntry === true && scalar(field) === name,
    );
    if (entry !== undefined) return `map<${entry.field?.map(scalar).join(',')}>`;
    return field.label === 'LABEL_REPEATED' ? `repeated ${scalar(field)}` : scalar(field);
  };
  for (const { name, method } of file.service) {
    for (const { name: call, inputType, outputType, serverStreaming } of method) {
      const stream = serverStreaming === true ? 'stream ' : '';
      const types = `(${bare(inputType)}) returns (${stream}${bare(outputType)})`;
      rows.push(['rpc', name, call, types].join('\t'));
    }
  }
  for (const one of file.enumType) enumRows('', one);
  for (const message of file.messageType) {
    rows.push(['message', message.name].join('\t'));
    for (const one of message.enumType ?? []) enumRows(`${message.name}.`, one);
    for (const field of message.field ?? []) {
      const names: Readonly<Record<string, string>> = {
        deprecated: 'deprecated',
        debugRedact: 'debug_redact',
      };
      const options = Object.entries(field.options ?? {})
        .map(([key, value]) => `[${names[key] ?? key}=${String(value)}]`)
        .join();
      const type = typeOf(message, field);
      rows.push(['field', message.name, field.name, field.number, type, '', options].join('\t'));
    }
  }
  return rows.sort();
}

test('api.proto has the messages, fields, numbers, types and calls of the table', () => {
  const buf = join(ROOT, 'node_modules/.bin/buf');
  const image = execFileSync(buf, ['build', join(ROOT, 'proto/cri/v1'), '-o', '-#format=json'], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  const [file] = (JSON.parse(image) as { file: Descriptor[] }).file;
  const table = readFileSync(join(import.meta.dirname, 'cri-v1.tsv'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.replace('map<string, string>', 'map<string,string>'));
  expect(file).toMatchObject({ package: 'runtime.v1', syntax: 'proto3' });
  expect(rowsOf(file as Descriptor)).toEqual([...table].sort());
});

test('the committed codecs are what api.proto makes', () => {
  const directory = mkdtempSync(join(tmpdir(), 'cais-generated-'));
  try {
    execFileSync('node', [join(ROOT, 'scripts/generate-cri.mjs'), directory]);
    expect(readFileSync(join(directory, 'api.ts'), 'utf8')).toBe(
      readFileSync(join(ROOT, 'src/cri/generated/api.ts'), 'utf8'),
    );
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
