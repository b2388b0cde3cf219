import { eraseFromHelper } from '../../auth/credential-helper.js';
import { loadDockerConfig, loginConfigPath, updateDockerConfig } from '../../auth/docker-config.js';
import { serverKey } from '../../auth/keyring.js';
import type { CommandContext } from '../context.js';

/** `cais logout`: forgets a registry, in the Docker configuration file and in the helper that it names. Succeeds when nothing is known. */
export async function logout(
  { stdout }: Pick<CommandContext, 'stdout'>,
  { registry = 'docker.io' }: { readonly registry?: string | undefined },
): Promise<void> {
  const { domain, server } = serverKey(registry);
  const path = loginConfigPath(process.env);
  const config = await loadDockerConfig([path]);
  const helper = config?.credentialHelpers.get(server) ?? config?.credentialStore;
  if (helper !== undefined) await eraseFromHelper(helper, server);
  if (config?.auths.has(server)) await updateDockerConfig(path, { server, auth: undefined });
  stdout.write(`Logged out of ${domain}\n`);
}
