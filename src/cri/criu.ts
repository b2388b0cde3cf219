import { execFile } from 'node:child_process';

const CHECK_TIMEOUT_MS = 10_000;
const OUTPUT_MAX_BYTES = 64 * 1024;

/** Why containers cannot be checkpointed on this machine, in one sentence: what `criu check` says. */
export async function whyNoCheckpoint(criu = 'criu'): Promise<string> {
  return new Promise((resolve) => {
    execFile(
      criu,
      ['check'],
      { timeout: CHECK_TIMEOUT_MS, maxBuffer: OUTPUT_MAX_BYTES, encoding: 'utf8' },
      (error, stdout, stderr) => {
        if (error === null) return resolve('cais cannot drive CRIU, which works here');
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
          return resolve(`"${criu}" is not installed`);
        }
        const lines = `${stdout}\n${stderr}`.split('\n').map((line) => line.trim());
        const said = lines.filter((line) => line !== '').at(-1) ?? error.message;
        resolve(`"${criu} check" fails: ${said.slice(0, 300)}`);
      },
    );
  });
}
