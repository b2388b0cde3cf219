import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { buildLimitProgram } from './limit/build.mjs';

const BALLOON_DRIVER = '/sys/bus/virtio/drivers/virtio_balloon';

/**
 * Takes all memory but `freeBytes`, where this is a virtual machine that gives free memory back to its host: what little is left can be touched as a whole
 * before each run (`limit/memory.h`). Elsewhere it does nothing.
 * @param {number} freeBytes
 * @returns {Promise<{ close: () => Promise<void> }>}
 */
export async function holdMemory(freeBytes) {
  if (!isGivenBack()) return { close: async () => undefined };
  const holder = spawn(buildLimitProgram(), ['hold', String(freeBytes)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(holder, 'close');
  holder.stdin.on('error', () => undefined);
  await Promise.race([once(holder.stdout, 'data'), ended]);
  return {
    close: async () => {
      holder.stdin.end();
      await ended;
    },
  };
}

function isGivenBack() {
  try {
    return readdirSync(BALLOON_DRIVER).some((name) => name.startsWith('virtio'));
  } catch {
    return false;
  }
}
