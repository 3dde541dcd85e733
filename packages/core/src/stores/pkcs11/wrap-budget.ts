import * as nodeFs from 'node:fs/promises';
import { join } from 'node:path';
import { KmsError, unavailable } from '../../errors.ts';
import { DurableDirectory } from '../../util/durable-directory.ts';
import { withFileLock } from '../../util/file-lock.ts';
import type { SharedResource } from '../../util/shared-resources.ts';

/** AES-GCM with random IVs allows 2^32 uses of one key (NIST SP 800-38D §8.3); four replicas may share them. */
export const MAX_WRAPS = 2 ** 30;

/** Uses after which an operator is warned. A rotation takes days. */
export const WARN_AFTER = MAX_WRAPS / 2;

/** Uses recorded in advance, so that a crash never makes the count too low. Each start of the plugin costs as many. */
const BLOCK = 2 ** 10;

/** ms to wait for another process that reserves its block. */
const LOCK_WAIT_MS = 5_000;

/**
 * Counts the wraps of this host under one AES-GCM key, over instances, processes and restarts, and ends them in time. Only direct
 * mode counts: there each Encrypt is a wrap, and else a wrap an hour never matters.
 */
export class WrapBudget implements SharedResource {
  readonly #path: string;
  readonly #directory: DurableDirectory;
  readonly #name: string;
  readonly #keyId: string;
  #left = 0;
  #reserving: Promise<void> | undefined;

  constructor(directory: string, keyId: string) {
    this.#path = directory;
    this.#directory = new DurableDirectory(directory, nodeFs);
    this.#keyId = keyId;
    this.#name = `wraps-${keyId}.json`;
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
      return cannotCount(error);
    }
  }

  /** Gives up the rest of the block. */
  close(): void {
    this.#left = 0;
  }

  async #reserve(): Promise<void> {
    try {
      await this.#directory.make();
      const path = join(this.#path, `${this.#name}.lock`);
      const busy = (pid: string) =>
        unavailable(`process ${pid} holds ${path}`, { remedy: `if it does not, remove ${path}*` });
      await withFileLock(path, { fs: nodeFs, waitMs: LOCK_WAIT_MS, busy }, async () => {
        const used = await this.#used();
        if (used >= MAX_WRAPS) {
          const what = `key ${this.#keyId} was used ${MAX_WRAPS} times on this host, which is all that AES-GCM allows`;
          throw unavailable(what, { remedy: 'rotate the key' });
        }
        await this.#directory.write(this.#name, Buffer.from(JSON.stringify({ used: used + BLOCK })), 0o600);
      });
      this.#left = BLOCK;
    } catch (error) {
      throw cannotCount(error);
    } finally {
      this.#reserving = undefined;
    }
  }

  /** Read each time: other processes use the same key, such as `doctor`. */
  async #used(): Promise<number> {
    const text = await this.#directory.read(this.#name);
    if (text === undefined) return 0;
    const { used } = JSON.parse(text) as { used?: unknown };
    if (!Number.isSafeInteger(used) || (used as number) < 0) throw new Error(`${this.#name} is damaged`);
    return used as number;
  }
}

function cannotCount(error: unknown): KmsError {
  const message = `the wraps under a key cannot be counted: ${(error as Error).message}`;
  return KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE', message);
}
