import { sleep } from '@teapot-kms/core';
import type { Clock } from '@teapot-kms/core';

/**
 * Keeps work at a rate. Several workers may share it. After a stall, nobody catches up: what was slow would meet a burst.
 * @param rate - most objects per second; `Infinity` without a limit
 * @returns waits until `objects` more have had their time
 */
export function pacer(clock: Clock, rate: number): (objects: number) => Promise<void> {
  let end = clock.now();
  return async (objects) => {
    end += (objects / rate) * 1_000;
    const waitMs = end - clock.now();
    if (waitMs > 0) await sleep(clock, waitMs);
    else end = clock.now();
  };
}
