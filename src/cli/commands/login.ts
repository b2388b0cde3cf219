import { Credential } from '../../auth/credential.js';
import { storeInHelper } from '../../auth/credential-helper.js';
import { loadDockerConfig, loginConfigPath, updateDockerConfig } from '../../auth/docker-config.js';
import { serverKey } from '../../auth/keyring.js';
import { loadConfig } from '../../config.js';
import { InvalidArgumentError } from '../../errors.js';
import { HostsDirectory } from '../../registry/hosts-directory.js';
import { MirroredClient } from '../../registry/mirrored-client.js';
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
  const { stdout, stderr } = context;
  const { domain, server } = serverKey(options.registry ?? 'docker.io');
  const { username, password } = await askCredential(context, options);
  await check(Credential.password(username, password, 'the command line'), { context, domain });
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

/** Shows the credential to the registry, at the place that the configuration of its hosts says. */
async function check(
  credential: Credential,
  { context, domain }: { readonly context: CommandContext; readonly domain: string },
): Promise<void> {
  const { insecureRegistries, registryConfigDir: path } = loadConfig(context.settings);
  const endpoints = await new HostsDirectory({ path, insecureRegistries }).endpointsOf(domain);
  const transport = await Transport.open({ insecureRegistries });
  // A mirror has a name of its own, under which one logs in to it.
  const credentialsFor = async (registry: string) => (registry === domain ? [credential] : []);
  const client = new MirroredClient({ transport, domain, endpoints, credentialsFor });
  try {
    await client.ping({ signal: context.signal });
  } finally {
    await client.close();
    await transport.close();
  }
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
