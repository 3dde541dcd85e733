import * as nodeFs from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { KmsError, unavailable } from '../../errors.ts';
import { DurableDirectory } from '../../util/durable-directory.ts';
import type { SharedResource } from '../../util/shared-resources.ts';

/** AES-GCM with random IVs allows 2^32 uses of one key (NIST SP 800-38D §8.3); four replicas may share them. */
export const MAX_WRAPS = 2 ** 30;

/** Uses after which an operator is warned. A rotation takes days. */
export const WARN_AFTER = MAX_WRAPS / 2;

/** Uses recorded in advance, so that a crash never makes the count too low. Each start of the plugin costs as many. */
export const BLOCK = 2 ** 10;

/**
 * Counts the wraps of this host under one AES-GCM key, over instances, processes and restarts, and ends them in time. The
 * record is a file with one byte for each block of uses: processes may append to it at the same time.
 */
export class WrapBudget implements SharedResource {
  readonly #path: string;
  readonly #keyId: string;
  #left = 0;
  #reserving: Promise<void> | undefined;

  constructor(directory: string, keyId: string) {
    this.#path = join(directory, `wraps-${keyId}`);
    this.#keyId = keyId;
  }

  /** @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` when the budget is used up, or cannot be recorded */
  async take(): Promise<void> {
    while (this.#left === 0) await (this.#reserving ??= this.#reserve());
    this.#left--;
  }

  /** Returns a warning when half of the budget is used. The text stays the same, so that it is logged once. */
  async warning(): Promise<KmsError | undefined> {
    try {
      if ((await this.#used()) < WARN_AFTER) return undefined;
      const what = `key ${this.#keyId} was used for half of the ${MAX_WRAPS} wraps that AES-GCM allows on this host`;
      return unavailable(`${what}. It seals nothing after the other half`, { remedy: 'rotate the key' });
    } catch (error) {
      return this.#cannotCount(error);
    }
  }

  /** Gives up the rest of the block. */
  close(): void {
    this.#left = 0;
  }

  async #reserve(): Promise<void> {
    try {
      await new DurableDirectory(dirname(this.#path), nodeFs).make();
      if ((await this.#used()) >= MAX_WRAPS) {
        const what = `key ${this.#keyId} was used ${MAX_WRAPS} times on this host, which is all that AES-GCM allows`;
        throw unavailable(what, { remedy: 'rotate the key' });
      }
      await nodeFs.appendFile(this.#path, Buffer.alloc(1), { mode: 0o600, flush: true });
      this.#left = BLOCK;
    } catch (error) {
      throw this.#cannotCount(error);
    } finally {
      this.#reserving = undefined;
    }
  }

  async #used(): Promise<number> {
    try {
      return (await nodeFs.stat(this.#path)).size * BLOCK;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 0;
      throw error;
    }
  }

  #cannotCount(error: unknown): KmsError {
    const message = `the wraps under key ${this.#keyId} cannot be counted: ${(error as Error).message}`;
    return KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE', message);
  }
}
