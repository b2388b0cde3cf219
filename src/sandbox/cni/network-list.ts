import { InvalidArgumentError } from '../../errors.js';
import { CNI_VERSIONS, type CniVersion, chooseVersion } from './version.js';

/** A plugin's own part of the configuration: its keys are its business, but for these. */
export interface CniPluginConfig {
  readonly type: string;
  readonly capabilities?: Readonly<Record<string, boolean>>;
  readonly [key: string]: unknown;
}

/** A network that pods are added to by one plugin after the other. */
export interface CniNetworkList {
  readonly name: string;
  readonly version: CniVersion;
  readonly disableCheck: boolean;
  readonly disableGc: boolean;
  /** Plugins may be added by files in a directory named after the network. */
  readonly takesFurtherPlugins: boolean;
  readonly plugins: readonly CniPluginConfig[];
}

/**
 * Reads a configuration list (`.conflist`), or the configuration of a single plugin as a list of one.
 * @throws InvalidArgumentError naming the key.
 * @see CNI specification 1.1, section 1, "Network configuration format"
 */
export function parseNetworkList(
  text: string,
  options: { readonly single: boolean },
): CniNetworkList {
  const config = parseObject(text);
  const { name } = config;
  if (typeof name !== 'string' || !/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name)) {
    throw new InvalidArgumentError(
      `"name" is ${show(name)}, expected letters, digits, "_", "." and "-"`,
    );
  }
  const plugins = options.single ? [config] : config['plugins'];
  if (!Array.isArray(plugins) || plugins.length === 0) {
    throw new InvalidArgumentError(`"plugins" is ${show(plugins)}, expected at least one plugin`);
  }
  return {
    name,
    version: versionOf(config),
    disableCheck: flag(config, 'disableCheck'),
    disableGc: flag(config, 'disableGC'),
    takesFurtherPlugins: !options.single && !flag(config, 'loadOnlyInlinedPlugins'),
    plugins: plugins.map(checkPlugin),
  };
}

/** One plugin that is added to a list by a file of its own. @throws InvalidArgumentError */
export function parsePlugin(text: string): CniPluginConfig {
  return checkPlugin(parseObject(text));
}

function parseObject(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new InvalidArgumentError('not JSON', { cause });
  }
  if (!isObject(value)) throw new InvalidArgumentError('not a JSON object');
  return value;
}

function checkPlugin(plugin: unknown): CniPluginConfig {
  if (!isObject(plugin)) throw new InvalidArgumentError(`a plugin is ${show(plugin)}`);
  const { type, capabilities } = plugin;
  // The name of a file in one of the directories of plugins, and in no other.
  if (typeof type !== 'string' || !/^[^/\\\0]+$/.test(type) || type === '.' || type === '..') {
    throw new InvalidArgumentError(`the "type" of a plugin is ${show(type)}, expected a file name`);
  }
  const isWrong =
    capabilities !== undefined &&
    (!isObject(capabilities) ||
      !Object.values(capabilities).every((value) => typeof value === 'boolean'));
  if (isWrong) {
    throw new InvalidArgumentError(
      `"capabilities" of plugin "${type}" is ${show(capabilities)}, expected booleans by name`,
    );
  }
  return plugin as CniPluginConfig;
}

function versionOf(config: Record<string, unknown>): CniVersion {
  const { cniVersion, cniVersions } = config;
  if (cniVersions !== undefined && !Array.isArray(cniVersions)) {
    throw new InvalidArgumentError(`"cniVersions" is ${show(cniVersions)}, expected a list`);
  }
  const offered = [cniVersion, ...(cniVersions ?? [])].filter(
    (version): version is string => typeof version === 'string' && version !== '',
  );
  const version = chooseVersion(offered);
  if (version === undefined) {
    throw new InvalidArgumentError(
      `"cniVersion" is ${offered.length === 0 ? 'missing' : show(offered)}, expected one of ${CNI_VERSIONS.join(', ')}`,
    );
  }
  return version;
}

/** Quoted ones are around: older versions of libcni took them. */
function flag(config: Record<string, unknown>, key: string): boolean {
  const value = config[key];
  if (value === undefined || value === false || value === 'false') return false;
  if (value === true || value === 'true') return true;
  throw new InvalidArgumentError(`"${key}" is ${show(value)}, expected true or false`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function show(value: unknown): string {
  return value === undefined ? 'missing' : JSON.stringify(value).slice(0, 200);
}
