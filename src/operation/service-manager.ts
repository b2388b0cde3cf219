import type { NativeBinding } from '../native.js';

export interface ServiceManagerOptions {
  readonly native: Pick<NativeBinding, 'sendDatagram'>;
  /** Told what could not be sent; nothing fails for it. */
  readonly onFailure: (error: unknown) => void;
}

/**
 * Tells systemd how this process is: ready, stopping, and alive when it asks for that (WatchdogSec=). The messages come from the event loop, so a loop that is
 * stuck gets the process restarted. Without systemd nothing is sent.
 * @see sd_notify(3), sd_watchdog_enabled(3)
 */
export class ServiceManager {
  readonly #path: string | undefined;
  readonly #watchdogIntervalMs: number | undefined;
  readonly #options: ServiceManagerOptions;
  #watchdog: NodeJS.Timeout | undefined;

  private constructor(
    options: ServiceManagerOptions,
    { path, intervalMs }: { path: string | undefined; intervalMs: number | undefined },
  ) {
    this.#options = options;
    this.#path = path;
    this.#watchdogIntervalMs = intervalMs;
  }

  /** Takes systemd's variables out of `environment`: they are for this process, and for none that it starts. */
  static take(environment: NodeJS.ProcessEnv, options: ServiceManagerOptions): ServiceManager {
    const path = environment['NOTIFY_SOCKET'];
    const periodMicros = Number(environment['WATCHDOG_USEC']);
    const pid = environment['WATCHDOG_PID'];
    for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete environment[name];
    const isMeant = pid === undefined || Number(pid) === process.pid;
    const hasWatchdog = isMeant && Number.isSafeInteger(periodMicros) && periodMicros > 0;
    return new ServiceManager(options, {
      path: path !== undefined && /^[/@]./.test(path) ? path : undefined,
      // Twice in each period, as the manual page wants it.
      intervalMs: hasWatchdog ? Math.max(periodMicros / 2000, 1) : undefined,
    });
  }

  /** The service is up; from now on systemd hears that it is alive. */
  ready(status: string): void {
    this.#send(`READY=1\nSTATUS=${oneLine(status)}\nMAINPID=${process.pid}`);
    if (this.#watchdogIntervalMs === undefined || this.#path === undefined) return;
    this.#watchdog = setInterval(() => this.#send('WATCHDOG=1'), this.#watchdogIntervalMs);
    this.#watchdog.unref();
  }

  /** The end has begun. It may take longer than systemd's patience with a silent service, so the watchdog goes on. */
  stopping(): void {
    this.#send('STOPPING=1');
  }

  close(): void {
    clearInterval(this.#watchdog);
  }

  #send(message: string): void {
    if (this.#path === undefined) return;
    try {
      this.#options.native.sendDatagram(this.#path, message);
    } catch (error) {
      this.#options.onFailure(error);
    }
  }
}

function oneLine(text: string): string {
  return text.replaceAll('\n', ' ');
}
