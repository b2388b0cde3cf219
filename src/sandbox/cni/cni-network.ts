import { stat } from 'node:fs/promises';
import type { Config } from '../../config.js';
import { describeError, FailedPreconditionError } from '../../errors.js';
import type { NativeBinding } from '../../native.js';
import type { Collection, RecordStore } from '../../record-store.js';
import { KeyedLock } from '../keyed-lock.js';
import {
  type DetachOptions,
  NETWORK_READY,
  type NetworkStatus,
  type PodAddress,
  type PodNetwork,
  type PodToConnect,
} from '../pod-network.js';
import { type CniConfiguration, readConfiguration } from './configuration.js';
import type { CniNetworkList, CniPluginConfig } from './network-list.js';
import { type CniAttachmentNames, type CniCommand, findPlugin, runPlugin } from './plugin.js';
import { type CniResult, parseResult, podAddress } from './result.js';
import {
  type CapabilityArguments,
  capabilityArguments,
  podArguments,
  requestConfig,
} from './runtime-config.js';
import { isAtLeast } from './version.js';

const INTERFACE_NAME = 'eth0';
/** The kubelet asks every few seconds and for everything else waits until it has the answer. */
const STATUS_TIMEOUT_MS = 10_000;

/**
 * All that CHECK and DEL need: configuration and arguments must be those of the ADD, whatever has become of the files. Written before the first
 * plugin runs, removed when the last DEL has succeeded. The cache of results that the specification asks for is this record, in our own store
 * (not in libcni's /var/lib/cni/results).
 */
interface CniAttachment {
  readonly network: CniNetworkList;
  readonly capabilityArguments: CapabilityArguments;
  readonly args: string;
  readonly netnsPath: string;
  /** The path may lead to another namespace one day: process ids come again. */
  readonly netnsInode: string;
  /** Absent when the ADD was cut off. */
  readonly result?: CniResult;
}

export interface CniNetworkOptions {
  readonly config: Config['cni'];
  /** Runtime handlers, whose pods may have networks of their own; absent: none has. */
  readonly handlers?: Config['handlers'];
  /** Handler of pods that name none. */
  readonly defaultHandler?: string;
  readonly native: Pick<NativeBinding, 'setLoopbackUp'>;
  readonly records: RecordStore;
}

interface Execution {
  readonly sandboxId: string;
  readonly attachment: CniAttachment;
  readonly command: CniCommand;
  readonly netnsPath: string;
  readonly prevResult?: CniResult;
}

/**
 * Pods on the network that an administrator, or a network's own pods, configured: plugins by the Container Network Interface, versions 0.3.0 to
 * 1.1.0. The configuration is read at each use. One interface a pod, `eth0`; the loopback link is brought up by us.
 * @see https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md
 */
export class CniNetwork implements PodNetwork {
  readonly #config: Config['cni'];
  readonly #handlers: Config['handlers'];
  readonly #defaultHandler: string;
  readonly #native: CniNetworkOptions['native'];
  readonly #attachments: Collection<CniAttachment>;
  readonly #locks = new KeyedLock();

  constructor(options: CniNetworkOptions) {
    const { config, handlers = {}, defaultHandler = '', native, records } = options;
    this.#config = config;
    this.#handlers = handlers;
    this.#defaultHandler = defaultHandler;
    this.#native = native;
    this.#attachments = records.collection('cni');
  }

  /** What the directory of a handler's pods says now, or the common one. */
  async configuration(handler?: string): Promise<CniConfiguration> {
    const confDir = this.#directoryOf(handler);
    return confDir === '' ? { problems: [] } : readConfiguration(confDir);
  }

  /**
   * ADD by each plugin in turn. When one fails, DEL by all of them undoes it.
   * @throws CniError of the plugin; FailedPreconditionError when there is no valid configuration.
   */
  attach(sandboxId: string, { netnsPath, config }: PodToConnect): Promise<PodAddress> {
    return this.#locks.run(sandboxId, async () => {
      const network = await this.#network(config.runtimeHandler);
      // No second ADD without a DEL.
      await this.#remove(sandboxId, {});
      const attachment: CniAttachment = {
        network,
        capabilityArguments: capabilityArguments(config),
        args: podArguments(sandboxId, config),
        netnsPath,
        netnsInode: await inodeOf(netnsPath),
      };
      await this.#attachments.put(sandboxId, attachment);
      try {
        await this.#native.setLoopbackUp(netnsPath);
        const result = await this.#add({ sandboxId, attachment, command: 'ADD', netnsPath });
        await this.#attachments.put(sandboxId, { ...attachment, result });
        return podAddress(result);
      } catch (error) {
        await this.#undo(sandboxId, error);
        throw error;
      }
    });
  }

  /** DEL by each plugin, the last one first; what fails is kept, and tried again by the next call. @throws CniError */
  detach(sandboxId: string, options: DetachOptions = {}): Promise<void> {
    return this.#locks.run(sandboxId, () => this.#remove(sandboxId, options));
  }

  async collect(isLive: (sandboxId: string) => boolean): Promise<void> {
    // Listed before it is asked for: a sandbox has its record before it has an attachment.
    for (const { id } of this.#attachments.list()) if (!isLive(id)) await this.detach(id);
  }

  /**
   * Tells the plugins which attachments there are, for them to clean up all others of the network (GC, version 1.1.0). Only for the one owner of
   * the machine's networks: what another runtime attached to a network of that name goes. `disableGC` in the configuration keeps it from happening.
   * @returns a sentence for each plugin that failed.
   */
  async collectGarbage(): Promise<string[]> {
    const networks = new Map(
      this.#attachments.list().map(({ value }) => [value.network.name, value.network] as const),
    );
    for (const handler of [undefined, ...Object.keys(this.#handlers)]) {
      const { network: current } = await this.configuration(handler);
      if (current !== undefined) networks.set(current.name, current);
    }
    const failures: string[] = [];
    for (const network of networks.values()) {
      if (network.disableGc || !isAtLeast(network.version, '1.1.0')) continue;
      const attachments = this.#attachments
        .list()
        .filter(({ value }) => value.network.name === network.name)
        .map(({ id }) => ({ containerID: id, ifname: INTERFACE_NAME }));
      for (const plugin of network.plugins) {
        try {
          await this.#run(network, plugin, {
            command: 'GC',
            // The first edition of 1.1 had the second name.
            added: {
              'cni.dev/valid-attachments': attachments,
              'cni.dev/attachments': attachments,
            },
          });
        } catch (error) {
          failures.push(describeError(error));
        }
      }
    }
    return failures;
  }

  /** CHECK by each plugin, where version (0.4.0) and configuration have it. @throws CniError when the pod's network is not as it was made. */
  check(sandboxId: string): Promise<void> {
    return this.#locks.run(sandboxId, async () => {
      const attachment = this.#attachments.get(sandboxId);
      if (attachment?.result === undefined) {
        throw new FailedPreconditionError(`Sandbox "${sandboxId}" is on no CNI network`);
      }
      const { network, result, netnsPath } = attachment;
      if (network.disableCheck || !isAtLeast(network.version, '0.4.0')) return;
      for (const plugin of network.plugins) {
        await this.#execute(plugin, {
          sandboxId,
          attachment,
          command: 'CHECK',
          netnsPath,
          prevResult: result,
        });
      }
    });
  }

  async status(): Promise<NetworkStatus> {
    try {
      const network = await this.#network();
      for (const plugin of network.plugins) {
        if (isAtLeast(network.version, '1.1.0')) {
          await this.#run(network, plugin, { command: 'STATUS', timeoutMs: STATUS_TIMEOUT_MS });
        } else {
          await findPlugin({ ...this.#config, type: plugin.type, command: 'STATUS' });
        }
      }
      return NETWORK_READY;
    } catch (error) {
      return { ready: false, reason: 'NetworkPluginNotReady', message: describeError(error) };
    }
  }

  async #network(handler?: string): Promise<CniNetworkList> {
    const { network, problems } = await this.configuration(handler);
    if (network !== undefined) return network;
    const confDir = this.#directoryOf(handler);
    throw new FailedPreconditionError(
      problems.length === 0
        ? `No network configuration in "${confDir}"`
        : `No valid network configuration: ${problems.join('; ')}`,
    );
  }

  #directoryOf(handler: string | undefined): string {
    return this.#handlers[handler || this.#defaultHandler]?.cniConfDir ?? this.#config.confDir;
  }

  async #add(execution: Execution): Promise<CniResult> {
    let result: CniResult | undefined;
    for (const plugin of execution.attachment.network.plugins) {
      const prevResult = result === undefined ? {} : { prevResult: result };
      result = parseResult(await this.#execute(plugin, { ...execution, ...prevResult }));
    }
    // A list has at least one plugin.
    return result as CniResult;
  }

  async #undo(sandboxId: string, cause: unknown): Promise<void> {
    try {
      await this.#remove(sandboxId, {});
    } catch (error) {
      // The record stays, so that the sandbox's own undo, or the next engine, tries again.
      throw new AggregateError([cause, error], `${describeError(cause)} (and undoing it failed)`, {
        cause,
      });
    }
  }

  async #remove(sandboxId: string, options: DetachOptions): Promise<void> {
    const attachment = this.#attachments.get(sandboxId);
    if (attachment === undefined) return;
    const { network, result } = attachment;
    const sameNamespace = (await inodeOf(attachment.netnsPath)) === attachment.netnsInode;
    const netnsPath = sameNamespace ? attachment.netnsPath : (options.netnsPath ?? '');
    const withResult = result !== undefined && isAtLeast(network.version, '0.4.0');
    for (const plugin of [...network.plugins].reverse()) {
      await this.#execute(plugin, {
        sandboxId,
        attachment,
        command: 'DEL',
        netnsPath,
        ...(withResult ? { prevResult: result } : {}),
      });
    }
    await this.#attachments.remove(sandboxId);
  }

  #execute(plugin: CniPluginConfig, execution: Execution): Promise<string> {
    const { sandboxId, attachment, command, netnsPath, prevResult } = execution;
    return this.#run(attachment.network, plugin, {
      command,
      names: {
        containerId: sandboxId,
        netnsPath,
        interfaceName: INTERFACE_NAME,
        args: attachment.args,
      },
      capabilityArguments: attachment.capabilityArguments,
      added: prevResult === undefined ? {} : { prevResult },
    });
  }

  #run(network: CniNetworkList, plugin: CniPluginConfig, call: PluginExecution): Promise<string> {
    const { binDirs, timeoutMs } = this.#config;
    const { command, names } = call;
    return runPlugin({
      type: plugin.type,
      command,
      ...(names === undefined ? {} : { names }),
      binDirs,
      timeoutMs: call.timeoutMs ?? timeoutMs,
      config: requestConfig(plugin, {
        ...call.added,
        cniVersion: network.version,
        name: network.name,
        capabilityArguments: call.capabilityArguments ?? {},
      }),
    });
  }
}

interface PluginExecution {
  readonly command: CniCommand;
  readonly names?: CniAttachmentNames;
  readonly capabilityArguments?: CapabilityArguments;
  readonly added?: Readonly<Record<string, unknown>>;
  readonly timeoutMs?: number;
}

/** Which namespace a path leads to; empty when to none. */
async function inodeOf(path: string): Promise<string> {
  try {
    const { dev, ino } = await stat(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return '';
  }
}
