import * as nodeFs from 'node:fs/promises';
import { join } from 'node:path';
import { KmsError } from '../../errors.ts';
import type { SharedResource } from '../../util/shared-resources.ts';
import { DurableDirectory } from '../../util/durable-directory.ts';
import { withFileLock } from '../../util/file-lock.ts';

/** AES-GCM with random IVs may be used 2^32 times under one key (NIST SP 800-38D §8.3); four replicas may share that. */
export const MAX_WRAPS = 2 ** 30;

/** Uses after which an operator is told: a rotation takes days, a replica that seals 1,000 times a second a fortnight. */
export const WARN_AFTER = MAX_WRAPS / 2;

/**
 * So many are written down as used before the first of them is: a crash must not make the count too low. Each start of
 * the plugin costs as many.
 */
const BLOCK = 2 ** 10;

/** How long another process that reserves its block is waited for. */
const LOCK_WAIT_MS = 5_000;

/** Counts how often this replica wraps under a key of AES-GCM, over instances, processes and restarts, and ends it in time. */
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

  /** @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` when the budget is used up, or cannot be written down */
  async take(): Promise<void> {
    while (this.#left === 0) await (this.#reserving ??= this.#reserve());
    this.#left--;
  }

  /** What an operator should know before it is used up. Always the same text, so that it is logged once. */
  async trouble(): Promise<KmsError | undefined> {
    try {
      if ((await this.#used()) < WARN_AFTER) return undefined;
      return unavailable(
        `key ${this.#keyId} was used for half of the ${MAX_WRAPS} times that AES-GCM allows here, and seals no more after them; rotate it`,
      );
    } catch (error) {
      return cannotCount(error);
    }
  }

  /** What is left of the block is not used any more. */
  close(): void {
    this.#left = 0;
  }

  async #reserve(): Promise<void> {
    try {
      await this.#directory.make();
      const path = join(this.#path, `${this.#name}.lock`);
      const busy = (pid: string) => unavailable(`process ${pid} holds ${path}; if that is not so, remove ${path}*`);
      await withFileLock(path, { fs: nodeFs, waitMs: LOCK_WAIT_MS, busy }, async () => {
        const used = await this.#used();
        if (used >= MAX_WRAPS) {
          throw unavailable(
            `key ${this.#keyId} was used ${MAX_WRAPS} times here, which is all that AES-GCM allows; rotate it`,
          );
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

  /** Read anew each time: others use the same key, `doctor` for one. */
  async #used(): Promise<number> {
    const text = await this.#directory.read(this.#name);
    if (text === undefined) return 0;
    const { used } = JSON.parse(text) as { used?: unknown };
    if (!Number.isSafeInteger(used) || (used as number) < 0) throw new Error(`${this.#name} is damaged`);
    return used as number;
  }
}

const unavailable = (text: string): KmsError => new KmsError('ERR_KMS_STORE_UNAVAILABLE', text);

function cannotCount(error: unknown): KmsError {
  const { message } = error as Error;
  return KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE', `the uses of a key cannot be counted: ${message}`);
}
