import { Credential } from '../../auth/credential.js';
import { storeInHelper } from '../../auth/credential-helper.js';
import { loadDockerConfig, loginConfigPath, updateDockerConfig } from '../../auth/docker-config.js';
import { serverKey } from '../../auth/keyring.js';
import { loadConfig } from '../../config.js';
import { InvalidArgumentError } from '../../errors.js';
import { RegistryClient } from '../../registry/client.js';
import { Transport } from '../../registry/transport.js';
import type { CommandContext } from '../context.js';
import { ask, isTerminal, readInput } from '../terminal.js';

export interface LoginOptions {
  /** `docker.io` when absent. */
  readonly registry?: string | undefined;
  readonly username?: string;
  readonly passwordStdin?: boolean;
}

/**
 * `cais login`: checks a credential with the registry, and only then keeps it: by the credential helper that the Docker configuration
 * file names, else in the file itself (mode 0600).
 */
export async function login(context: CommandContext, options: LoginOptions): Promise<void> {
  const { stdout, stderr, signal } = context;
  const { domain, server } = serverKey(options.registry ?? 'docker.io');
  const { username, password } = await askCredential(context, options);
  const { insecureRegistries } = loadConfig(context.settings);
  const transport = await Transport.open({ insecureRegistries });
  try {
    const credential = Credential.password(username, password, 'the command line');
    await new RegistryClient({ transport, domain, credential }).ping({ signal });
  } finally {
    await transport.close();
  }
  const path = loginConfigPath(process.env);
  const config = await loadDockerConfig([path]);
  const helper = config?.credentialHelpers.get(server) ?? config?.credentialStore;
  if (helper !== undefined) await storeInHelper(helper, { server, username, password });
  else {
    await updateDockerConfig(path, { server, auth: { username, password } });
    stderr.write(
      `The password is kept unencrypted in "${path}"; a credential helper avoids that\n`,
    );
  }
  stdout.write(`Logged in to ${domain}\n`);
}

/** A password never stands on the command line: that is public. */
async function askCredential(
  { stderr: output, signal }: CommandContext,
  { username, passwordStdin = false }: LoginOptions,
): Promise<{ username: string; password: string }> {
  const input = process.stdin;
  const canAsk = input.isTTY && isTerminal(output);
  if (!canAsk && (username === undefined || !passwordStdin)) {
    throw new InvalidArgumentError(
      'Without a terminal, login needs --username and --password-stdin',
    );
  }
  if (passwordStdin && username === undefined)
    throw new InvalidArgumentError('--password-stdin needs --username');
  const name = username ?? (await ask('Username: ', { input, output, signal }));
  const password = passwordStdin
    ? await readInput(input)
    : await ask('Password: ', { input, output, signal, isSecret: true });
  if (name === '' || password === '')
    throw new InvalidArgumentError('User name and password must not be empty');
  return { username: name, password };
}
