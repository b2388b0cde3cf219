import { spawn } from 'node:child_process';
import { RuntimeError } from '../errors.js';
import { Credential } from './credential.js';

/** A credential helper could not be run or answered nonsense (`CREDENTIAL_HELPER_FAILED`). Holds nothing that the helper printed on stdout. */
export class CredentialHelperError extends RuntimeError {
  constructor(message: string, options?: { readonly cause?: unknown }) {
    super('CREDENTIAL_HELPER_FAILED', message, options);
  }
}

export interface CredentialHelperOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
  readonly environment?: NodeJS.ProcessEnv;
}

const HELPER_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const DEFAULT_TIMEOUT_MS = 60_000;
const MAX_OUTPUT_BYTES = 1 << 20;
const NOT_FOUND = /credentials not found/i;
/** User name that marks the secret as an OAuth refresh token. */
const TOKEN_USER = '<token>';

/**
 * Asks `docker-credential-<name>` for the credential of a server; undefined when it has none.
 * @throws CredentialHelperError
 * @see docker/docker-credential-helpers, "Usage"
 */
export async function getFromHelper(
  name: string,
  server: string,
  options: CredentialHelperOptions = {},
): Promise<Credential | undefined> {
  const { status, stdout, stderr } = await runHelper(name, {
    action: 'get',
    input: server,
    ...options,
  });
  if (status !== 0) {
    if (NOT_FOUND.test(stdout) || NOT_FOUND.test(stderr)) return undefined;
    throw new CredentialHelperError(
      `Credential helper "docker-credential-${name}" failed for "${server}" with status ${status}`,
    );
  }
  const answer = parseAnswer(stdout);
  if (answer === undefined) {
    throw new CredentialHelperError(
      `Credential helper "docker-credential-${name}" gave no answer that can be read for "${server}"`,
    );
  }
  const origin = `docker-credential-${name}`;
  return answer.Username === TOKEN_USER
    ? new Credential({ kind: 'identityToken', token: answer.Secret }, origin)
    : Credential.password(answer.Username, answer.Secret, origin);
}

/** Hands a credential to a helper for keeping. @throws CredentialHelperError */
export async function storeInHelper(
  name: string,
  {
    server,
    username,
    password,
  }: { readonly server: string; readonly username: string; readonly password: string },
): Promise<void> {
  const input = JSON.stringify({ ServerURL: server, Username: username, Secret: password });
  const { status } = await runHelper(name, { action: 'store', input });
  if (status === 0) return;
  throw new CredentialHelperError(
    `Credential helper "docker-credential-${name}" could not store the credential of "${server}" (status ${status})`,
  );
}

/** Lets a helper forget a server; absent is success. @throws CredentialHelperError */
export async function eraseFromHelper(name: string, server: string): Promise<void> {
  const { status, stdout, stderr } = await runHelper(name, { action: 'erase', input: server });
  if (status === 0 || NOT_FOUND.test(stdout) || NOT_FOUND.test(stderr)) return;
  throw new CredentialHelperError(
    `Credential helper "docker-credential-${name}" could not erase "${server}" (status ${status})`,
  );
}

interface HelperRun extends CredentialHelperOptions {
  readonly action: 'get' | 'store' | 'erase';
  readonly input: string;
}

/** Runs the program without a shell; secrets go through stdin, since a command line is public. */
async function runHelper(
  name: string,
  { action, input, timeoutMs = DEFAULT_TIMEOUT_MS, signal, environment }: HelperRun,
): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const program = `docker-credential-${name}`;
  if (!HELPER_NAME.test(name)) {
    throw new CredentialHelperError(
      `Credential helper name ${JSON.stringify(name.slice(0, 80))} is not allowed`,
    );
  }
  const deadline = AbortSignal.timeout(timeoutMs);
  const child = spawn(program, [action], {
    stdio: ['pipe', 'pipe', 'pipe'],
    signal: signal === undefined ? deadline : AbortSignal.any([signal, deadline]),
    killSignal: 'SIGKILL',
    ...(environment === undefined ? {} : { env: environment }),
  });
  // A helper that ends without reading is no fault of its own.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  try {
    const closed = new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    const [status, stdout, stderr] = await Promise.all([
      closed,
      collect(child.stdout),
      collect(child.stderr),
    ]);
    return { status, stdout, stderr };
  } catch (error) {
    child.kill('SIGKILL');
    signal?.throwIfAborted();
    if (deadline.aborted)
      throw new CredentialHelperError(
        `Credential helper "${program}" did not answer within ${timeoutMs} ms`,
      );
    const code = (error as NodeJS.ErrnoException).code;
    const reason =
      code === 'ENOENT'
        ? 'it is not installed (not found in PATH)'
        : String((error as Error).message);
    throw new CredentialHelperError(`Cannot run credential helper "${program}": ${reason}`, {
      cause: error,
    });
  }
}

async function collect(stream: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    length += chunk.byteLength;
    if (length > MAX_OUTPUT_BYTES) throw new Error(`it wrote more than ${MAX_OUTPUT_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseAnswer(text: string): { Username: string; Secret: string } | undefined {
  try {
    const answer = JSON.parse(text) as { Username?: unknown; Secret?: unknown } | null;
    const { Username, Secret } = answer ?? {};
    return typeof Username === 'string' && typeof Secret === 'string'
      ? { Username, Secret }
      : undefined;
  } catch {
    return undefined;
  }
}
