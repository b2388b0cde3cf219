import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestBed } from './bed.mjs';
import type { CommandResult } from './command.mjs';
import type { Program } from './program.mjs';

const TIMEOUT_MS = 60_000;

/** What `crictl … -o json` prints, as far as a test looks into it. */
export type Json = { readonly [key: string]: Json } & readonly Json[] & (string | number | boolean);

/** The real crictl, inside the stage of a test bed. */
export class Crictl {
  readonly #bed: TestBed;
  readonly #configPath: string;

  constructor(bed: TestBed) {
    this.#bed = bed;
    const { endpoint } = bed.runtime;
    this.#configPath = this.config('crictl', {
      'runtime-endpoint': endpoint,
      'image-endpoint': endpoint,
      timeout: 30,
    });
  }

  /** The command line that runs these words. */
  command(words: readonly string[]): string[] {
    return [this.#bed.tools.crictl, `--config=${this.#configPath}`, ...words];
  }

  /** Runs to the end; standard output without the last newline. @throws Error with what it printed when it fails. */
  async run(...words: string[]): Promise<string> {
    const { stdout } = await this.#bed.stage.run(this.command(words), { timeoutMs: TIMEOUT_MS });
    return stdout.trimEnd();
  }

  /** The same for a command that may fail. */
  async attempt(...words: string[]): Promise<CommandResult> {
    return await this.#bed.stage.run(this.command(words), {
      timeoutMs: TIMEOUT_MS,
      mayFail: true,
    });
  }

  /** What a command prints as JSON. crictl wants options before other words. */
  async json(command: string, ...words: string[]): Promise<Json> {
    return JSON.parse(await this.run(command, '--output=json', ...words)) as Json;
  }

  /** Leaves it running. */
  start(...words: string[]): Program {
    return this.#bed.stage.start(this.command(words));
  }

  /** Leaves it running at a terminal of its own, of this size. */
  startAtTerminal(words: readonly string[], { rows = 24, columns = 80 } = {}): Program {
    const line = this.command(words).map(quote).join(' ');
    return this.#bed.stage.start([
      'script',
      '--quiet',
      '--return',
      '--flush',
      `--command=stty rows ${rows} cols ${columns}; exec ${line}`,
      '/dev/null',
    ]);
  }

  /** A path in the directory of the stage. */
  path(name: string): string {
    return join(this.#bed.stage.directory, name);
  }

  /** Writes a file that crictl is given, and returns its path; JSON is YAML. */
  config(name: string, content: object): string {
    const path = this.path(`${name}.json`);
    writeFileSync(path, JSON.stringify(content));
    return path;
  }
}

/** One word for a shell. */
function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
