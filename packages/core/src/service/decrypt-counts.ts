import type { MaybePromise } from '../kms-service.ts';

/** How many Decrypts each key has answered: when those of an old key stand still it may be retired. */
export class DecryptCounts {
  readonly #counts = new Map<string, number>();

  of(keyId: string): number {
    return this.#counts.get(keyId) ?? 0;
  }

  add(keyId: string): void {
    this.#counts.set(keyId, this.of(keyId) + 1);
  }

  /** Adds one for `keyId` when there is a plaintext, and passes it on. */
  addWith(keyId: string, plaintext: MaybePromise<Buffer>): MaybePromise<Buffer> {
    if (plaintext instanceof Promise) {
      return plaintext.then((bytes) => {
        this.add(keyId);
        return bytes;
      });
    }
    this.add(keyId);
    return plaintext;
  }
}
