import type { ImageRecord } from '../../image/image-store.js';
import { formatPlatform, hostPlatform } from '../../image/platform.js';
import { familiarRepository, parseReference, repositoryName } from '../../reference.js';
import { type CommandContext, withEngine } from '../context.js';
import { type Column, formatAge, formatBytes, formatTable } from '../table.js';

export interface ImagesOptions {
  readonly name?: string;
  readonly quiet?: boolean;
  readonly digests?: boolean;
  /** False: ids in full. */
  readonly trunc: boolean;
  readonly output: 'table' | 'json';
}

/** One line of the table: an image has one for each of its names. */
interface ImageLine {
  readonly image: ImageRecord;
  readonly repository: string;
  readonly tag: string;
  readonly digest: string;
}

const NONE = '<none>';

/** `cais images`: lists images, newest first. */
export function images(context: CommandContext, options: ImagesOptions): Promise<void> {
  const { stdout } = context;
  const wanted = options.name === undefined ? undefined : parseReference(options.name);
  return withEngine(context, async (engine) => {
    const lines = engine.images
      .list()
      .sort((a, b) => Date.parse(b.createdAt || '0') - Date.parse(a.createdAt || '0'))
      .flatMap(linesOf)
      .filter((line) => {
        if (wanted === undefined) return true;
        const isRepository = line.repository === familiarRepository(wanted);
        return isRepository && (wanted.tag === undefined || wanted.tag === line.tag);
      });
    if (options.output === 'json') {
      const records = [...new Set(lines.map(({ image }) => image))];
      stdout.write(`${JSON.stringify(records, null, 2)}\n`);
    } else if (options.quiet) {
      for (const id of new Set(lines.map(({ image }) => image.id))) stdout.write(`${id}\n`);
    } else stdout.write(formatTable(columnsFor(options, lines), lines));
  });
}

function linesOf(image: ImageRecord): ImageLine[] {
  const digests = new Map(
    image.repoDigests.map(parseReference).map((each) => [repositoryName(each), each]),
  );
  const tags = image.names.map(parseReference);
  const tagged = new Set(tags.map(repositoryName));
  const untagged = [...digests.values()].filter((each) => !tagged.has(repositoryName(each)));
  const lines = [...tags, ...untagged].map((reference) => ({
    image,
    repository: familiarRepository(reference),
    tag: reference.tag ?? NONE,
    digest: digests.get(repositoryName(reference))?.digest ?? NONE,
  }));
  return lines.length > 0 ? lines : [{ image, repository: NONE, tag: NONE, digest: NONE }];
}

function columnsFor(
  { digests, trunc }: ImagesOptions,
  lines: readonly ImageLine[],
): Column<ImageLine>[] {
  const host = formatPlatform(hostPlatform());
  const hasForeign = lines.some(({ image }) => formatPlatform(image.platform) !== host);
  return [
    { heading: 'REPOSITORY', cell: ({ repository }) => repository },
    { heading: 'TAG', cell: ({ tag }) => tag },
    ...(digests ? [{ heading: 'DIGEST', cell: ({ digest }: ImageLine) => digest }] : []),
    {
      heading: 'IMAGE ID',
      cell: ({ image }) =>
        trunc ? image.id.slice('sha256:'.length, 'sha256:'.length + 12) : image.id,
    },
    ...(hasForeign
      ? [{ heading: 'PLATFORM', cell: ({ image }: ImageLine) => formatPlatform(image.platform) }]
      : []),
    { heading: 'CREATED', cell: ({ image }) => formatAge(image.createdAt, Date.now()) },
    { heading: 'SIZE', cell: ({ image }) => formatBytes(image.sizeBytes) },
  ];
}
