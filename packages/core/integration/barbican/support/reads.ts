import { patient } from '@teapot-kms/testing/daemons';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BarbicanClient } from '../../../src/stores/barbican/client.ts';

/** Reads a secret again and again, as instances do, until its end is asked for. */
export class Reads {
  readonly failures: Error[] = [];
  count = 0;
  longestMs = 0;
  #ended = false;
  readonly #done: Promise<unknown>;

  /** @param open - a client for each reader, with a token of its own */
  constructor(open: () => BarbicanClient, id: string, expected: Buffer, readers = 4) {
    this.#done = Promise.all(Array.from({ length: readers }, () => this.#read(open(), id, expected)));
  }

  /** Waits until there were some more reads, all of them begun after this call. */
  async more(times = 20): Promise<void> {
    const until = this.count + times;
    while (this.count < until && this.failures.length === 0) await sleep(20);
  }

  async end(): Promise<void> {
    this.#ended = true;
    await this.#done;
  }

  async #read(client: BarbicanClient, id: string, expected: Buffer): Promise<void> {
    while (!this.#ended) {
      const started = performance.now();
      try {
        const read = await client.payload(id, patient().signal);
        if (!read.expose().equals(expected)) throw new Error('other bytes');
        read.wipe();
      } catch (error) {
        this.failures.push(error as Error);
      }
      this.count++;
      this.longestMs = Math.max(this.longestMs, performance.now() - started);
      await sleep(20);
    }
  }
}
