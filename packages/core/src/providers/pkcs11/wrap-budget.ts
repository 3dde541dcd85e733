import * as nodeFs from 'node:fs/promises';
import { KmsError } from '../../errors.ts';
import { DurableDirectory } from '../durable-directory.ts';

/** AES-GCM with random IVs may be used 2^32 times under one key (NIST SP 800-38D §8.3); four replicas may share that. */
export const MAX_WRAPS = 2 ** 30;

/** So many are written down as used before the first of them is: a crash must not make the count too low. */
const BLOCK = 2 ** 16;

/** Counts how often this replica wraps under a key of AES-GCM, over restarts, and ends it in time. */
export class WrapBudget {
  readonly #directory: DurableDirectory;
  readonly #name: string;
  readonly #keyId: string;
  #used = 0;
  #reserved = 0;
  #reserving: Promise<void> | undefined;

  constructor(directory: string, keyId: string) {
    this.#directory = new DurableDirectory(directory, nodeFs);
    this.#keyId = keyId;
    this.#name = `wraps-${keyId}.json`;
  }

  /** @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` when the budget is used up, or cannot be written down */
  async take(): Promise<void> {
    while (this.#used >= this.#reserved) await (this.#reserving ??= this.#reserve());
    this.#used++;
  }

  async #reserve(): Promise<void> {
    try {
      if (this.#reserved === 0) this.#used = await this.#read();
      if (this.#used >= MAX_WRAPS) {
        const message = `key ${this.#keyId} was used ${String(MAX_WRAPS)} times here, which is all that AES-GCM allows; rotate it`;
        throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', message);
      }
      await this.#directory.make();
      await this.#directory.write(this.#name, Buffer.from(JSON.stringify({ used: this.#used + BLOCK })), 0o600);
      this.#reserved = this.#used + BLOCK;
    } catch (error) {
      throw KmsError.from(
        error,
        'ERR_KMS_STORE_UNAVAILABLE',
        `the uses of a key cannot be written down: ${(error as Error).message}`,
      );
    } finally {
      this.#reserving = undefined;
    }
  }

  async #read(): Promise<number> {
    const text = await this.#directory.read(this.#name);
    if (text === undefined) return 0;
    const { used } = JSON.parse(text) as { used?: unknown };
    if (!Number.isSafeInteger(used)) throw new Error(`${this.#name} is damaged`);
    return used as number;
  }
}
