import type { MaybePromise } from '../kms-service.ts';

/** Decrypts per key. An old key whose count no longer grows may be ready to be retired. */
export class DecryptCounts {
  readonly #counts = new Map<string, number>();

  of(keyId: string): number {
    return this.#counts.get(keyId) ?? 0;
  }

  add(keyId: string): void {
    this.#counts.set(keyId, this.of(keyId) + 1);
  }

  /** Counts one for `keyId` once there is a plaintext, and returns the plaintext. */
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
