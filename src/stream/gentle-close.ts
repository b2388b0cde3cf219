import type { Duplex } from 'node:stream';

/**
 * Ends `stream` after what has been written, throws away what still comes, and destroys it when the other side has closed or
 * after `lingerMs`. Closing a socket that holds unread bytes makes the kernel send a reset, which can take the last bytes we wrote
 * away from a slow reader; hence the wait.
 */
export function closeGently(stream: Duplex, lingerMs: number): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed) return resolve();
    const destroy = () => stream.destroy();
    const timer = setTimeout(destroy, lingerMs);
    stream.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
    stream.once('end', () => {
      if (stream.writableFinished) destroy();
      else stream.once('finish', destroy);
    });
    stream.end();
    stream.resume();
    if (stream.readableEnded) stream.once('finish', destroy);
  });
}
